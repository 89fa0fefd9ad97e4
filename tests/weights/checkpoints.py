"""Configs of every kind of model, random weights for them, and files that are broken on purpose."""

import io
import json
import struct
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from vit_keras.config import ViTConfig

_SMALL = {"hidden_dim": 48, "num_layers": 2, "num_heads": 3, "mlp_dim": 192, "patch_size": 16, "image_size": 64}
_CLIP = {"stem_norm": True, "patch_bias": False, "norm_epsilon": 1e-5}
_MEAN = {"pooling": "mean", "final_norm": "after"}
_REGISTER = {"class_token": False, "num_registers": 1, "position_on_prefix": False, "layer_scale": 1e-5, **_MEAN}
_DINO = {"image_size": 70, "patch_size": 14, "layer_scale": 1e-5}
_AXIAL = {"rotary_embedding": "axial", "rotary_temperature": 10_000.0, "rotary_reference": (16, 16)}
_GATED = {"gated_mlp": True, "mlp_dim": 128, "activation": "silu"}
_EVA = {"image_size": 56, "patch_size": 14, "qkv_bias": "query_value", **_AXIAL, **_MEAN, **_GATED}
_DINOV3 = {
    "layer_scale": 1e-5, "num_registers": 4, "position_embedding": "none", "rotary_embedding": "centered",
    "qkv_bias": "none", "norm_epsilon": 1e-5,
}  # fmt: skip
_NARROW = {"hidden_dim": 24, "num_heads": 2, "mlp_dim": 96, "patch_size": 8, "image_size": 32}
_EVA_1 = {**_NARROW, "mlp_dim": 104, "qkv_bias": "query_value"}
_GAP = {**_NARROW, "class_token": False, "pooling": "mean"}
_TIPS = {**_NARROW, "num_registers": 1, "position_on_prefix": False, "layer_scale": 1.0}
_PE = {
    **_NARROW, **_CLIP, "rotary_embedding": "axial", "rotary_temperature": 10_000.0, "rotary_order": "xy",
    "rotary_reference": (32, 32),
}  # fmt: skip
_PE_MAP = {**_PE, "rotary_reference": (24, 24), "pooling": "map", "num_map_heads": 8}
_PE_PLAIN = {**_PE, "pooling": "mean", "final_norm": "none"}
_NO_POSITIONS = {**_NARROW, "position_embedding": "none", **_MEAN}
_BEIT = {**_NO_POSITIONS, "relative_position": "table", "qkv_bias": "query_value", "layer_scale": 0.1}
_RPN = {**_NARROW, "class_token": False, "qkv_bias": "none", "layer_scale": 1e-5, "block_norm": "after", **_MEAN}
_RELPOS = {**_NO_POSITIONS, "class_token": False, "relative_position": "mlp", "qkv_bias": "none", "layer_scale": 1e-6}
_RADIO = {**_NARROW, "position_on_prefix": False, "final_norm": "none"}
_LINGBOT = {**_NARROW, **_DINOV3, "qkv_bias": "query_value"}

CONFIGS = {
    name: ViTConfig(**{**_SMALL, **changes})
    for name, changes in {
        "aimv2": {
            **_GAP, "mlp_dim": 66, "patch_norm": True, "qkv_bias": "none", "projection_bias": False, "norm": "rms", "norm_epsilon": 1e-5,
            "gated_mlp": True, "activation": "silu",
        },
        "beit": {**_BEIT, "image_size": (32, 48)},
        "beit_shared": {
            **_BEIT, "relative_position_shared": True, "layer_scale": 1e-5, "pooling": "token", "final_norm": "before",
        },
        "clip": _CLIP,
        "clip_quickgelu": {**_CLIP, "activation": "quick_gelu"},
        "deit3": {"position_on_prefix": False, "layer_scale": 1e-6},
        "deit_distilled": {"distillation_token": True},
        "differential": {**_REGISTER, **_NARROW, "mlp_dim": 134, "differential_attention": True},
        "dinov2": _DINO,
        "dinov2_reg4": {**_DINO, "num_registers": 4, "position_on_prefix": False},
        "dinov2_swiglu": {**_DINO, **_GATED},
        "dinov3": {**_DINOV3, "pooling": "mean"},
        "dinov3_gated": {**_DINOV3, **_GATED, "qkv_bias": "query_value"},
        "eva_giant": {**_EVA_1, **_MEAN},
        "eva_giant_clip": _EVA_1,
        "eva_enormous_clip": {**_EVA_1, "mlp_dim": 205, "block_norm": "after"},
        "eva_large": {**_NARROW, **_MEAN},
        "eva02": _EVA,
        "eva02_inner_norm": {**_EVA, "mlp_inner_norm": True},
        "eva02_clip": {
            **_EVA, **_NARROW, "mlp_dim": 64, "attention_inner_norm": True, "mlp_inner_norm": True, "pooling": "token",
            "final_norm": "before",
        },
        "beit3": {**_NARROW, "attention_inner_norm": True, "mlp_inner_norm": True, "norm_epsilon": 1e-5, **_MEAN},
        "flexivit": {"position_on_prefix": False},
        "ijepa": {**_GAP, "mlp_dim": 104},
        "intern300m": {**_NARROW, "layer_scale": 0.1, "final_norm": "none"},
        "lingbot": _LINGBOT,
        "lingbot_swiglu": {**_LINGBOT, **_GATED, "mlp_dim": 64, "qkv_bias": "none"},
        "mae_gap": _MEAN,
        "miil": {**_NARROW, "qkv_bias": "none", "pixel_mean": 0.0, "pixel_std": 1.0},
        "dpwee_parallel": {
            **_REGISTER, **_NARROW, "mlp_dim": 120, "parallel_block": True, "differential_attention": True,
        },
        "pwee_parallel": {**_REGISTER, "mlp_dim": 240, "parallel_block": True},
        "pe_core": {**_PE_MAP, "rotary_offset": 1.0},
        "pe_core_gigantic": {**_PE_MAP, "mlp_dim": 140, "map_mlp_dim": 96, "class_token": False},
        "pe_lang": {**_PE_PLAIN, "rotary_offset": 1.0, "layer_scale": 0.1},
        "pe_spatial": {**_PE_PLAIN, "rotary_offset": 1.0, "image_size": (32, 56)},
        "pe_spatial_gigantic": {**_PE_PLAIN, "mlp_dim": 140, "class_token": False, "layer_scale": 0.1},
        "parallel_qk_norm": {"parallel_block": True, "qk_norm": True, "qkv_bias": "none"},
        "qk_norm": {"qk_norm": True},
        "radio_v3": {**_RADIO, "num_registers": 7, "layer_scale": 1e-5},
        "radio_v4": {**_RADIO, "num_registers": 9, "mlp_dim": 89},
        "reg1_gap": {**_REGISTER, "mlp_dim": 268},
        "reg4_rope_gap": {
            **_REGISTER, **_AXIAL, "num_registers": 4, "position_embedding": "none", "position_on_prefix": True,
            "qkv_bias": "query_value",
        },
        "rope_mixed_ape": {
            "position_on_prefix": False, "rotary_embedding": "mixed", "rotary_order": "xy", "rotary_temperature": 10.0,
            "layer_scale": 1e-5,
        },
        "relpos": {**_RELPOS, "image_size": (48, 32)},
        "relpos_cls": {
            **_RELPOS, "class_token": True, "pooling": "token", "final_norm": "before", "relative_position_dim": 256,
        },
        "relpos_rpn": {**_RELPOS, "final_norm": "before", "block_norm": "after"},
        "relpos_table": {**_RELPOS, "class_token": True, "relative_position": "table"},
        "rpn": _RPN,
        "siglip": {"class_token": False, "pooling": "map"},
        "siglip2": {"class_token": False, "pooling": "map"},
        "siglip_384": {**_GAP, "mlp_dim": 89, "pooling": "map", "image_size": 36, "partial_patches": "crop"},
        "siglip_gap": {**_GAP, "mlp_dim": 89},
        "so150m_map": {**_GAP, "mlp_dim": 61, "num_registers": 4, "pooling": "map", "map_includes_prefix": False},
        "srelpos": {**_RELPOS, "final_norm": "before", "relative_position_shared": True, "relative_position_dim": 16},
        "tinyclip": {**_NARROW, **_CLIP},
        "tipsv2": _TIPS,
        "tipsv2_swiglu": {**_TIPS, **_GATED, "mlp_dim": 64},
        "test_vit": {"hidden_dim": 64, "num_layers": 6, "num_heads": 2},
        "vit": {"image_size": (48, 80)},
        "vit_patch8": {"image_size": 32, "patch_size": 8},
    }.items()
}  # fmt: skip
"""Small models of every kind, with the names of the golden references."""


@cache
def shapes_of(config: ViTConfig, num_classes: int | None = 7) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight of a config's model."""
    from vit_keras.models.vit import weight_shapes

    return weight_shapes(config, num_classes=num_classes)


def random_weights(config: ViTConfig, num_classes: int | None = 7, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns random weights of a config's model, by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes_of(config, num_classes).items()}


def converted(steps, file) -> dict[str, np.ndarray]:
    """Returns the weights that a plan makes from a file; each must be made once."""
    made = {}
    for step in steps.steps:
        for name, array in step.run([file.read(source) for source in step.sources]).items():
            if name in made:
                raise ValueError(f"{name} is made twice")
            made[name] = array
    return made


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Checks that both hold the same names, shapes and bits."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def npz_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Returns an npz file with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    """Returns an array as a member of an npz file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array))
    return buffer.getvalue()


def safetensors_bytes(header: object, body: bytes = b"") -> bytes:
    """Returns a safetensors file with this header, legal or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def fingerprint(folder: Path) -> dict[str, bytes]:
    """Returns what each file below a folder holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
