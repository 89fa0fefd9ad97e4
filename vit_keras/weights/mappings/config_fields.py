"""The fields of other libraries' config files and our fields with the same values, read both ways."""

from typing import get_args

from vit_keras.config import PositionResize

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
CLIP = {"pixel_mean": (0.48145466, 0.4578275, 0.40821073), "pixel_std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"pixel_mean": (0.5,), "pixel_std": (0.5,)}  # pixels from -1 to 1

# timm's config.json: `global_pool` for our `pooling`, arguments of all models, and further ones of `VisionTransformer` and `Eva`.

TIMM_POOLS = {"token": "token", "mean": "avg", "map": "map"}
TIMM_SHARED_FIELDS = {
    "patch_size": "patch_size", "in_chans": "channels", "embed_dim": "hidden_dim", "depth": "num_layers", "num_heads": "num_heads",
    "init_values": "layer_scale", "qk_norm": "qk_norm",
}  # fmt: skip
TIMM_VIT_FIELDS = {
    "class_token": "class_token", "reg_tokens": "num_registers", "pre_norm": "stem_norm", "scale_attn_norm": "attention_inner_norm",
    "scale_mlp_norm": "mlp_inner_norm",
}  # fmt: skip
TIMM_EVA_FIELDS = {
    "class_token": "class_token", "num_reg_tokens": "num_registers", "rope_temperature": "rotary_temperature",
    "swiglu_mlp": "gated_mlp", "scale_mlp": "mlp_inner_norm", "scale_attn_inner": "attention_inner_norm",
}  # fmt: skip

TIMM_NEWER_EVA_FIELDS = {"rope_grid_offset": "rotary_offset", "attn_pool_num_heads": "num_map_heads"}
"""Further ones of `Eva`, written only where they have an effect: not every version of timm knows them."""
# How `NaFlexVit` resizes positions, by our `position_resize`.
TIMM_NAFLEX_RESIZES: dict[str, dict[str, str | bool]] = {
    rule: {
        "pos_embed_interp_mode": rule.partition("_")[0], "pos_embed_antialias": "antialias" in rule,
        "pos_embed_align_corners": "corners" in rule, "pos_embed_ar_preserving": "crop" in rule,
    }
    for rule in get_args(PositionResize) if "offset" not in rule
}  # fmt: skip

# transformers' preprocessor_config.json, and config.json: fields of all models, and further ones by `model_type`.

HF_PREPROCESSOR = "preprocessor_config.json"
HF_PROCESSOR = "processor_config.json"  # written by transformers 5 for models of several kinds of input, in place of it
HF_RESAMPLES = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # Pillow's numbers
HF_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
HF_SHARED_FIELDS = {
    "hidden_size": "hidden_dim", "num_hidden_layers": "num_layers", "num_attention_heads": "num_heads",
    "num_channels": "channels", "patch_size": "patch_size", "layer_norm_eps": "norm_epsilon",
}  # fmt: skip
_MLP = {"intermediate_size": "mlp_dim"}
_DINOV2 = {"use_swiglu_ffn": "gated_mlp", "layerscale_value": "layer_scale"}
HF_FIELDS = {
    "vit": _MLP,
    "deit": _MLP,
    "dinov2": _DINOV2,
    "dinov2_with_registers": {**_DINOV2, "num_register_tokens": "num_registers"},
    "dinov3_vit": {
        **_MLP, "num_register_tokens": "num_registers", "rope_theta": "rotary_temperature", "use_gated_mlp": "gated_mlp",
        "layerscale_value": "layer_scale",
    },
    "radio": {"layerscale_value": "layer_scale"},
    "internvl_vision": {**_MLP, "layer_scale_init_value": "layer_scale"},
    "beit": {**_MLP, "layer_scale_init_value": "layer_scale"},
    "aimv2_vision_model": {**_MLP, "rms_norm_eps": "norm_epsilon"},
    "siglip_vision_model": _MLP,
    "siglip2_vision_model": _MLP,
    "clip_vision_model": _MLP,
}  # fmt: skip


def dinov2_mlp_dim(hidden_dim: int, ratio: float, *, gated: bool) -> int:
    """Returns transformers' MLP width: a gated MLP has two thirds, rounded up to a multiple of 8."""
    width = int(hidden_dim * ratio)
    return (int(width * 2 / 3) + 7) // 8 * 8 if gated else width


HF_PROBLEM_TYPES = {"multi_label": "multi_label_classification", "regression": "regression"}
"""transformers' `problem_type` in config.json, by our task; it has none for one class per image."""
