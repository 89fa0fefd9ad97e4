"""The fields of other libraries' config files and our fields with the same values, read both ways."""

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
CLIP = {"pixel_mean": (0.48145466, 0.4578275, 0.40821073), "pixel_std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"pixel_mean": (0.5,), "pixel_std": (0.5,)}
"""Pixels from -1 to 1."""

# timm's config.json

TIMM_POOLS = {"token": "token", "mean": "avg", "map": "map"}
"""Our `pooling`, and timm's `global_pool`."""

TIMM_SHARED_FIELDS = {
    "patch_size": "patch_size", "in_chans": "channels", "embed_dim": "hidden_dim", "depth": "num_layers", "num_heads": "num_heads",
    "init_values": "layer_scale", "qk_norm": "qk_norm",
}  # fmt: skip
"""Arguments of all of timm's models."""

TIMM_VIT_FIELDS = {"class_token": "class_token", "reg_tokens": "num_registers", "pre_norm": "stem_norm"}
"""Further arguments of its `VisionTransformer`."""

TIMM_EVA_FIELDS = {
    "class_token": "class_token", "num_reg_tokens": "num_registers", "rope_temperature": "rotary_temperature",
    "swiglu_mlp": "gated_mlp", "scale_mlp": "mlp_inner_norm",
}  # fmt: skip
"""Further arguments of its `Eva`."""

# transformers' config.json and preprocessor_config.json

HF_PREPROCESSOR = "preprocessor_config.json"

HF_RESAMPLES = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
"""Our `interpolation`, and Pillow's numbers, which transformers writes."""

HF_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
"""Our `activation`, and transformers' `hidden_act`."""

HF_SHARED_FIELDS = {
    "hidden_size": "hidden_dim", "num_hidden_layers": "num_layers", "num_attention_heads": "num_heads",
    "num_channels": "channels", "patch_size": "patch_size", "layer_norm_eps": "norm_epsilon",
}  # fmt: skip
"""Fields of all model types."""

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
    "siglip_vision_model": _MLP,
    "clip_vision_model": _MLP,
}  # fmt: skip
"""Further fields, by `model_type`."""


def dinov2_mlp_dim(hidden_dim: int, ratio: float, *, gated: bool) -> int:
    """Returns the MLP width of transformers' Dinov2: a gated MLP has two thirds, rounded up to a multiple of 8."""
    width = int(hidden_dim * ratio)
    return (int(width * 2 / 3) + 7) // 8 * 8 if gated else width
