from vit_keras import list_presets, load_preset, preset_info


def test_relatives_of_a_preset_are_its_other_sizes_and_the_next_of_its_family():
    found = preset_info("vit_small_patch16_224")["relatives"]
    assert found["smaller"] == "vit_tiny_patch16_224"
    assert found["larger"] == "vit_base_patch16_224"
    assert {"vit_small_patch16_384", "deit_small_patch16_224"} <= set(found["same_shape"])
    assert found["same_shape"][0] == "vit_small_patch16_384"  # of the family first
    ends = [preset_info(name)["relatives"] for name in ("deit_tiny_patch16_224", "deit_base_patch16_384")]
    assert ends[0]["smaller"] is None
    assert ends[1]["larger"] is None


def test_every_relative_is_what_it_is_called():
    for name in list_presets():
        preset, found = load_preset(name), preset_info(name)["relatives"]
        for other in found["same_shape"]:
            config = load_preset(other).config
            for field in (
                "hidden_dim",
                "num_layers",
                "num_heads",
                "mlp_dim",
                "patch_size",
                "class_token",
                "num_registers",
            ):
                assert getattr(config, field) == getattr(preset.config, field), (name, other)
            assert name in preset_info(other)["relatives"]["same_shape"]
        for other, sign in ((found["smaller"], -1), (found["larger"], 1)):
            if other is not None:
                assert load_preset(other).family == preset.family
                assert sign * (load_preset(other).params - preset.params) > 0


def test_blocks_that_compute_something_else_with_the_same_weights_are_no_relatives():
    for name, other in (
        ("vit_large_patch16_384", "vit_large_patch16_rope_224"),
        ("vit_base_patch16_gap_224", "vit_base_patch16_rpn_224"),
    ):
        assert other in list_presets()
        assert other not in preset_info(name)["relatives"]["same_shape"]
