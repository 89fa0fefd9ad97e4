import pytest

from vit_keras import list_presets, load_preset
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.libraries.native import NATIVE
from vit_keras.zoo.matching_presets import find_presets, list_changes, read_fields

FAMILIES = [
    "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3",
    "eva02_tiny_patch14_224", "vit_base_patch16_siglip_224", "vit_nano_conv8_32",
]  # fmt: skip


@pytest.mark.parametrize("name", list_presets())
def test_a_presets_config_finds_it_or_one_with_the_same_config(name):
    config = load_preset(name).config
    found = find_presets(config.to_dict())
    assert name in found
    assert (
        found[0] == name or list_changes(config, found[0]) == {} or list_changes(config, found[0]).keys() <= NOT_ORDERED
    )


NOT_ORDERED = {
    "position_on_prefix", "map_includes_prefix", "layer_scale", "rotary_temperature", "rotary_order", "rotary_reference",
    "position_resize", "patch_resize", "dropout_rate", "stochastic_depth_rate",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FAMILIES if name in list_presets()])
def test_the_shapes_of_the_weights_reveal_the_config(name):
    from vit_keras.models.vit import weight_shapes

    config = load_preset(name).config
    tensors = {path: TensorInfo(shape, "float32") for path, shape in weight_shapes(config).items()}
    fields = read_fields(NATIVE, tensors)
    assert fields.pop("layer_scale") == (config.layer_scale is not None)
    expected = {field: getattr(config, field) for field in fields}
    if config.position_embedding not in ("learned", "none"):
        expected["position_embedding"] = "none"  # computed, so there is no tensor
    assert fields == expected
    assert name in find_presets({**fields, "layer_scale": config.layer_scale})
