import dataclasses
import json
import math
import re

import hypothesis
import pytest
from hypothesis import strategies

from vit_keras import ViTConfig
from vit_keras.errors import InvalidArgumentError

BASE = {"image_size": 224, "patch_size": 16, "hidden_dim": 768, "num_layers": 12, "num_heads": 12, "mlp_dim": 3072}


def config(**changes):
    return ViTConfig(**{**BASE, **changes})


LARGE = {"hidden_dim": 1024, "num_layers": 24, "num_heads": 16, "mlp_dim": 4096}
HUGE = {"patch_size": 14, "hidden_dim": 1280, "num_layers": 32, "num_heads": 16, "mlp_dim": 5120}


def test_parameters_and_macs_are_the_published_ones():
    published = [({}, 85_798_656), ({"image_size": 384}, 86_090_496), (LARGE, 303_301_632), (HUGE, 630_764_800)]
    for changes, params in published:
        assert config(**changes).num_params == params
    assert config().num_macs == pytest.approx(17.56e9, rel=0.005)


def test_activations_of_half_the_bytes_are_half_and_remat_keeps_fewer():
    assert config().activation_bytes(2) * 2 == config().activation_bytes()
    assert config(remat="block").activation_bytes() < config().activation_bytes() / 4


@strategies.composite
def tiny_configs(draw):
    def pick(*values):
        return draw(strategies.sampled_from(values))

    patch_size, channels, num_registers, pre_logits_dim = pick(2, 4), pick(1, 3), pick(0, 3), pick(None, 12)
    class_token, parallel, rotary = pick(True, False), pick(True, False), pick("none", "axial", "mixed", "centered")
    pooling, final_norm = (
        pick(*["token", "token_and_mean"] * class_token, "mean", "map"),
        pick("before", "after", "none"),
    )
    usual = pooling == "token" and final_norm == "before" and pre_logits_dim is None
    stem = pick("patch", "conv")
    partial = pick("refuse", *["crop"] * (stem == "patch"))
    more = pick(0, 1) if partial == "crop" else 0  # px
    distillation_token, qk_norm, remat = usual and pick(True, False), pick(True, False), pick("none", "block")
    norm, only_class_token = pick("layer", "rms"), not num_registers and not distillation_token
    dynamic = pick(True, False)
    relative = pick("none", *["mlp", *["table"] * only_class_token] * (not dynamic))
    can_differ = not qk_norm and rotary == relative == "none"
    return ViTConfig(
        image_size=(patch_size * pick(1, 2) + more, patch_size * pick(1, 2)), patch_size=patch_size, channels=channels,
        partial_patches=partial, dynamic_image_size=dynamic,
        hidden_dim=pick(8, 16), num_layers=pick(1, 2), num_heads=pick(1, 2), mlp_dim=pick(16, 24),
        pixel_mean=(0.4,) * pick(1, channels), stem=stem, stem_norm=pick(True, False),
        patch_bias=pick(True, False), class_token=class_token, distillation_token=distillation_token,
        num_registers=num_registers, position_embedding=pick("learned", "sincos2d", "sincos2d_mae", "none"),
        position_on_prefix=pick(True, False), rotary_embedding=rotary,
        rotary_reference=pick(None, (4, 4)) if rotary == "axial" else None,
        rotary_offset=pick(0.0, 1.0) if rotary == "axial" else 0.0,
        num_map_heads=pick(None, 4) if pooling == "map" else None, map_mlp_dim=pick(None, 10) if pooling == "map" else None,
        qkv_bias=pick("all", "none", *["query_value"] * (not parallel)), qk_norm=qk_norm, parallel_block=parallel,
        gated_mlp=not parallel and pick(True, False), mlp_inner_norm=not parallel and pick(True, False),
        attention_inner_norm=not parallel and pick(True, False), pre_logits_dim=pre_logits_dim, pooling=pooling, final_norm=final_norm,
        map_includes_prefix=not (pooling == "map" and class_token + num_registers) or pick(True, False),
        activation=pick("gelu", "gelu_tanh", "quick_gelu", "silu"), layer_scale=pick(None, 1e-4),
        stochastic_depth_rate=pick(0.0, 0.1), remat=remat, norm=norm, patch_norm=pick(True, False),
        relative_position=relative, relative_position_shared=relative != "none" and remat == "none" and pick(True, False),
        relative_position_dim=128 if relative == "none" else pick(128, 5), differential_attention=can_differ and pick(True, False),
        projection_bias=parallel or pick(True, False), block_norm=pick("before", *["after"] * (norm == "layer" and not parallel)),
    )  # fmt: skip


@hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
@hypothesis.given(tiny_configs())
def test_json_gives_the_same_config_back(vit_config):
    assert ViTConfig.from_dict(json.loads(json.dumps(vit_config.to_dict()))) == vit_config


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(tiny_configs())
def test_parameters_are_those_of_the_built_model(vit_config):
    from vit_keras import vit

    built = sum(math.prod(weight.shape) for weight in vit(vit_config).trainable_weights)
    assert built == vit_config.num_params


def test_configs_are_frozen_equal_by_value_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError, match="hidden_dim"):
        config().hidden_dim = 3
    assert config(image_size=[224, 224], pixel_mean=0.5) == config(image_size=(224, 224), pixel_mean=[0.5])
    assert len({config(), config(), config().replace(num_layers=6)}) == 2


def test_counts_follow_from_the_fields():
    vit = config(image_size=(32, 64), class_token=False, pooling="mean")
    assert (vit.grid_size, vit.num_patches, vit.num_tokens, vit.feature_dim) == ((2, 4), 8, 8, 768)
    assert config(pooling="token_and_mean").feature_dim == 2 * 768
    assert (config().num_tokens, config().patch_dim, config(stem="conv").patch_dim) == (197, 768, 768)


def test_a_rest_of_the_image_is_no_patch():
    vit = config(image_size=(390, 384), patch_size=14, partial_patches="crop")
    assert (vit.grid_size, vit.num_patches) == ((27, 27), 729)
    assert vit.replace(image_size=378, partial_patches="refuse").num_params == vit.num_params
    assert vit.replace(dynamic_image_size=True).image_size == (378, 378)  # of which the positions are


def test_fields_of_attention_pooling_with_the_values_of_the_blocks_are_none_and_another_pooling_resets_them():
    assert config(pooling="map", num_map_heads=12, map_mlp_dim=3072) == config(pooling="map")
    vit = config(pooling="map", num_map_heads=8, map_mlp_dim=256, map_includes_prefix=False)
    assert vit.replace(pooling="mean") == config(pooling="mean")
    assert vit.replace(pooling="map", num_layers=3).num_map_heads == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({name: value}, f"{name}={value!r} is not an integer from 1 to {largest}")
            for name, largest, value in (
                ("patch_size", 256, 257), ("channels", 1024, 0), ("hidden_dim", 16_384, 2.0), ("num_layers", 512, "2"),
                ("num_heads", 512, True), ("mlp_dim", 131_072, None),
            )
        ),
        *(({"image_size": size}, f"image_size={size!r} is not (height, width) in px") for size in ((224,), "224", (224, 0), (224, 2.0), None, (True, 224))),
        ({"image_size": 224.0}, "image_size=(224.0, 224.0) is not (height, width) in px"),
        ({"image_size": 8193}, "image_size=(8193, 8193) is over 8192 px"),
        *(({name: value}, f"{name}={value!r} is not one fraction or one per channel") for name, value in (("pixel_mean", ()), ("pixel_mean", "0.5"), ("pixel_std", ("a",)), ("pixel_std", None), ("pixel_mean", (True,)), ("pixel_std", (float("nan"),)))),
        ({"stem": "patches"}, "stem='patches' is none of patch, conv (did you mean 'patch'?)"),
        ({"position_embedding": "learnt"}, "position_embedding='learnt' is none of learned, sincos2d, sincos2d_mae, none (did you mean 'learned'?)"),
        ({"pooling": "tokens"}, "pooling='tokens' is none of token, mean, token_and_mean, map (did you mean 'token'?)"),
        ({"activation": "relu"}, "activation='relu' is none of gelu, gelu_tanh, quick_gelu, silu"),
        ({"remat": True}, "remat=True is none of none, block"),
        *(({name: 1}, f"{name}=1 is not True or False") for name in ("class_token", "gated_mlp")),
        ({"qkv_bias": True}, "qkv_bias=True is none of all, query_value, none"),
        ({"final_norm": False}, "final_norm=False is none of before, after, none (did you mean 'none'?)"),
        ({"partial_patches": "pad"}, "partial_patches='pad' is none of refuse, crop"),
        *(({name: 0}, f"{name}=0 is neither None nor an integer from 1 to") for name in ("num_map_heads", "map_mlp_dim")),
        *(({"rotary_offset": value}, f"rotary_offset={value!r} is not a number of patches from 0 to 8192") for value in (-1, "1", True, float("nan"))),
        ({"norm": "RmsNorm"}, "norm='RmsNorm' is none of layer, rms (did you mean 'rms'?)"),
        ({"relative_position": "tables"}, "relative_position='tables' is none of none, table, mlp (did you mean 'table'?)"),
        ({"relative_position_dim": 0}, "relative_position_dim=0 is not an integer from 1 to 16384"),
        ({"rotary_embedding": "axal"}, "rotary_embedding='axal' is none of none, axial, mixed, centered (did you mean 'axial'?)"),
        *(({"num_registers": value}, f"num_registers={value!r} is not an integer from 0 to 256") for value in (-1, 257, True)),
        *(({"pre_logits_dim": value}, f"pre_logits_dim={value!r} is neither None nor an integer") for value in (0, 2.0, True)),
        *(({"rotary_reference": value}, "is neither None nor (rows, columns)") for value in ((16,), (16, 0), "16")),
        *(({"rotary_temperature": value}, f"rotary_temperature={value!r} is not in [1, 1e9]") for value in (0, "100", float("nan"))),
        *(({f"{name}_rate": value}, f"{name}_rate={value!r} is not a fraction in [0, 1)") for name, value in (("dropout", -0.1), ("attention_dropout", 1.0), ("stochastic_depth", "0"), ("dropout", True), ("dropout", None), ("dropout", float("nan")))),
        *(({"norm_epsilon": value}, f"norm_epsilon={value!r} is not in (0, 0.1]") for value in (0, 0.2, "1e-6", None, float("nan"))),
        *(({"layer_scale": value}, f"layer_scale={value!r} is neither None nor in (0, 100]") for value in (0, 101, "1", False, float("nan"))),
    ],
)  # fmt: skip
def test_refuses_fields_of_the_wrong_kind(changes, message):
    with pytest.raises(InvalidArgumentError) as caught:
        config(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (224, 230)}, "patch_size=16 does not divide image_size=(224, 230): the nearest image_size is (224, 224), the nearest patch_size 2"),
        ({"patch_size": 15}, "patch_size=15 does not divide image_size=(224, 224): the nearest image_size is (225, 225), the nearest patch_size 14"),
        ({"patch_size": 15}, 'partial_patches="crop" leaves out the pixels at the bottom and right that fill no patch'),
        ({"partial_patches": "crop", "image_size": (15, 224)}, "image_size=(15, 224) is smaller than a patch of patch_size=16"),
        ({"partial_patches": "crop", "stem": "conv"}, 'partial_patches="crop" needs stem="patch", not "conv"'),
        ({"num_heads": 7}, "num_heads=7 does not divide hidden_dim=768: the nearest num_heads is 6, the nearest hidden_dim 770"),
        ({"pooling": "map", "num_map_heads": 7}, "num_map_heads=7 does not divide hidden_dim=768"),
        ({"num_map_heads": 8}, 'num_map_heads and map_mlp_dim need pooling="map", not "token"'),
        ({"map_mlp_dim": 8}, 'num_map_heads and map_mlp_dim need pooling="map", not "token"'),
        ({"map_includes_prefix": False}, 'map_includes_prefix=False needs pooling="map" and prefix tokens'),
        ({"class_token": False}, 'pooling="token" needs class_token=True; without it, use pooling="mean" or "map"'),
        ({"class_token": False, "pooling": "token_and_mean"}, 'pooling="token_and_mean" needs class_token=True'),
        ({"position_embedding": "sincos2d", "hidden_dim": 774, "num_heads": 3}, 'position_embedding="sincos2d" needs a hidden_dim divisible by 4: the nearest to 774 is 776'),
        ({"stem": "conv", "patch_size": 14}, 'stem="conv" halves the image, so patch_size must be a power of two: the nearest to 14 is 16'),
        ({"stem": "conv", "patch_size": 1}, "the nearest to 1 is 2"),
        ({"stem": "conv", "hidden_dim": 36}, 'stem="conv" with patch_size=16 needs a hidden_dim divisible by 8: the nearest is 32'),
        ({"pixel_mean": (0.1, 0.2)}, "pixel_mean has 2 values for channels=3: give one, or one per channel"),
        ({"pixel_std": (0.5, 0.0, 0.5)}, "pixel_std=(0.5, 0.0, 0.5) has a value that is not positive"),
        ({"rotary_embedding": "axial", "num_heads": 128}, "so hidden_dim / num_heads must be divisible by 4, not 6"),
        ({"rotary_reference": 16}, 'rotary_reference and rotary_offset need rotary_embedding="axial"'),
        ({"rotary_offset": 1.0, "rotary_embedding": "centered"}, 'rotary_reference and rotary_offset need rotary_embedding="axial"'),
        ({"rotary_order": "xy"}, "rotary_temperature and rotary_order need a rotary_embedding"),
        ({"distillation_token": True, "pooling": "mean"}, 'distillation_token=True needs pooling="token", final_norm="before" and no pre_logits_dim; with distillation_head=False'),
        ({"distillation_token": True, "class_token": False, "pooling": "map"}, "distillation_token=True needs class_token=True"),
        ({"parallel_block": True, "gated_mlp": True}, "parallel_block=True can't be combined with gated_mlp"),
        ({"relative_position_shared": True}, 'relative_position_shared and relative_position_dim need relative_position="table" or "mlp"'),
        ({"relative_position": "mlp", "dynamic_image_size": True}, 'relative_position="mlp" has biases of one grid, so it needs dynamic_image_size=False'),
        ({"relative_position": "table", "num_registers": 2}, 'relative_position="table" has biases for patches and a class token'),
        ({"relative_position": "mlp", "relative_position_shared": True, "remat": "block"}, 'relative_position_shared=True can\'t be combined with remat="block"'),
        ({"block_norm": "after", "norm": "rms"}, 'block_norm="after" needs norm="layer" and parallel_block=False'),
        ({"parallel_block": True, "projection_bias": False}, "parallel_block=True can't be combined with projection_bias=False"),
        ({"differential_attention": True, "num_heads": 256}, "differential_attention=True needs a hidden_dim divisible by 2 * num_heads: the nearest is 1024"),
        ({"differential_attention": True, "qk_norm": True}, "differential_attention=True can't be combined with qk_norm"),
        ({"remat": "block", "dropout_rate": 0.1}, 'remat="block" computes a block twice, and dropout would differ the second time: set dropout_rate=0 and attention_dropout_rate=0'),
    ],
)  # fmt: skip
def test_refuses_fields_that_do_not_fit_and_names_the_nearest_that_do(changes, message):
    with pytest.raises(InvalidArgumentError) as caught:
        config(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "proposed"),
    [
        ({"image_size": 230}, {"image_size": (224, 224)}),
        ({"image_size": 230}, {"patch_size": 10}),
        ({"num_heads": 7}, {"num_heads": 6}),
        ({"num_heads": 7}, {"hidden_dim": 770}),
        ({"image_size": 1021}, {"image_size": (1024, 1024)}),
        ({"image_size": 8192, "patch_size": 3}, {"image_size": (8190, 8190)}),
    ],
)
def test_what_is_proposed_is_legal(changes, proposed):
    (name, value), *_ = proposed.items()
    with pytest.raises(
        InvalidArgumentError, match=rf"the nearest {name}( is)? {re.escape(str(value))}(?!\d)"
    ) as caught:
        config(**changes)
    assert "patch_size 1021" not in str(caught.value)  # which is over the limit
    config(**{**changes, **proposed})


def test_several_problems_come_in_one_message():
    for changes, named in (
        (
            {"hidden_dim": 0, "num_heads": 2.5, "activation": "gelo"},
            ("hidden_dim=0", "num_heads=2.5", "activation='gelo'"),
        ),
        ({"patch_size": 15, "num_heads": 7, "class_token": False}, ("patch_size=15", "num_heads=7", 'pooling="token"')),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            config(**changes)
        assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(("name", "meant"), [("hidden_dims", "hidden_dim"), ("zzz", None)])
def test_unknown_fields_propose_the_closest(name, meant):
    hint = rf" \(did you mean '{meant}'\?\)" if meant else r"[;.]"
    for make in (config, config().replace, lambda **changes: ViTConfig.from_dict({**BASE, **changes})):
        with pytest.raises(InvalidArgumentError, match=f"there is no field '{name}'{hint}") as caught:
            make(**{name: 3})
        assert "The fields are activation, " in str(caught.value)


def test_missing_fields_are_named_together():
    with pytest.raises(InvalidArgumentError, match=r"patch_size, hidden_dim, num_layers, num_heads, mlp_dim must be"):
        ViTConfig(image_size=224)
