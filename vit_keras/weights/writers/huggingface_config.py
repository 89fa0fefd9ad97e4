"""Which of transformers' models a config is, and the `config.json` that builds it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.huggingface import HF_CLIP, HF_DINOV2, HF_DINOV3, HF_SIGLIP, HF_VIT
from vit_keras.weights.mappings.tables import Table
from vit_keras.weights.writers.requirements import PLAIN, misfits, refuse

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
"""Our `activation`, and transformers' `hidden_act`."""

SHARED_FIELDS = {
    "hidden_size": "hidden_dim", "num_hidden_layers": "num_layers", "num_attention_heads": "num_heads",
    "num_channels": "channels", "patch_size": "patch_size", "layer_norm_eps": "norm_epsilon",
}  # fmt: skip
"""Fields of every model's `config.json`, and our fields with the same values."""

_DINOV2_FIELDS = {"use_swiglu_ffn": "gated_mlp", "layerscale_value": "layer_scale"}
OWN_FIELDS = {
    "vit": {"intermediate_size": "mlp_dim"},
    "deit": {"intermediate_size": "mlp_dim"},
    "dinov2": _DINOV2_FIELDS,
    "dinov2_with_registers": {**_DINOV2_FIELDS, "num_register_tokens": "num_registers"},
    "dinov3_vit": {
        "intermediate_size": "mlp_dim", "num_register_tokens": "num_registers", "rope_theta": "rotary_temperature",
        "use_gated_mlp": "gated_mlp", "layerscale_value": "layer_scale",
    },
    "siglip_vision_model": {"intermediate_size": "mlp_dim"},
    "clip_vision_model": {"intermediate_size": "mlp_dim"},
}  # fmt: skip
"""Further fields by `model_type`."""


@dataclass(frozen=True)
class HuggingFaceModel:
    """One of transformers' models.

    Args:
        table: Its names.
        prefix: In front of them.
        outside: How names begin that have no prefix: the heads'.
        config: Its `config.json`.
        unused: Shapes of tensors that it has and we have not: the token that stands for masked patches.
    """

    table: Table
    prefix: str
    outside: tuple[str, ...]
    config: dict[str, Any]
    unused: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Kind:
    model_type: str
    table: Table
    allowed: Mapping[str, Collection[Any]]
    headless: str  # its class without a head
    headed: str | None = None  # and with one
    with_one_head: str | None = None  # with one, where `headed` has two
    scaled: bool = False  # has layer scale
    square: bool = False  # takes square images only


_MANY = range(1, 257)
_KINDS = (
    _Kind("vit", HF_VIT, {**PLAIN, "qkv_bias": ("all", "none")}, "ViTModel", "ViTForImageClassification"),
    _Kind(
        "deit", HF_VIT,
        {**PLAIN, "distillation_token": (True,), "distillation_head": (True, False), "qkv_bias": ("all", "none")},
        "DeiTModel", "DeiTForImageClassificationWithTeacher", with_one_head="DeiTForImageClassification",
    ),
    _Kind(
        "dinov2", HF_DINOV2,
        {**PLAIN, "gated_mlp": (True, False), "pooling": ("token_and_mean", "token"), "qkv_bias": ("all", "none")},
        "Dinov2Model", "Dinov2ForImageClassification", scaled=True, square=True,
    ),
    _Kind(
        "dinov2_with_registers", HF_DINOV2,
        {
            **PLAIN, "gated_mlp": (True, False), "pooling": ("token_and_mean", "token"), "qkv_bias": ("all", "none"),
            "num_registers": _MANY, "position_on_prefix": (False,),
        },
        "Dinov2WithRegistersModel", "Dinov2WithRegistersForImageClassification", scaled=True, square=True,
    ),
    _Kind(
        "dinov3_vit", HF_DINOV3,
        {
            **PLAIN, "gated_mlp": (True, False), "num_registers": range(257), "position_embedding": ("none",),
            "rotary_embedding": ("centered",), "rotary_order": ("yx",), "qkv_bias": ("all", "query_value", "none"),
        },
        "DINOv3ViTModel", scaled=True,
    ),
    _Kind(
        "siglip_vision_model", HF_SIGLIP, {**PLAIN, "class_token": (False,), "pooling": ("map",)},
        "SiglipVisionModel", square=True,
    ),
    _Kind(
        "clip_vision_model", HF_CLIP, {**PLAIN, "patch_bias": (False,), "stem_norm": (True,)},
        "CLIPVisionModel", "CLIPVisionModelWithProjection", square=True,
    ),
)  # fmt: skip
_PREFIXES = {"siglip_vision_model": "vision_model.", "clip_vision_model": "vision_model.", "dinov3_vit": ""}
_OUTSIDE = ("classifier.", "cls_classifier.", "distillation_classifier.", "visual_projection.")


def huggingface_model(config: ViTConfig, class_names: Sequence[str]) -> HuggingFaceModel:
    """Returns which of transformers' models a config is.

    Args:
        config: The model's.
        class_names: What the head's outputs mean; none for no head.

    Raises:
        InvalidArgumentError: transformers has no such model; with what keeps it from the nearest.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> huggingface_model(config, ["cat", "dog"]).config["architectures"]
        ['ViTForImageClassification']
    """
    reasons = {kind.model_type: _reasons(kind, config, bool(class_names)) for kind in _KINDS}
    kind = next((kind for kind in _KINDS if not reasons[kind.model_type]), None)
    if kind is None:
        raise refuse("transformers", reasons)
    has_head = bool(class_names)
    headed = kind.headed if config.has_two_heads else kind.with_one_head or kind.headed
    architecture = headed if has_head and headed is not None else kind.headless
    written = {
        "architectures": [architecture],
        "model_type": kind.model_type,
        **{theirs: getattr(config, ours) for theirs, ours in (SHARED_FIELDS | OWN_FIELDS[kind.model_type]).items()},
        "image_size": config.image_size[0] if len(set(config.image_size)) == 1 else list(config.image_size),
        "hidden_act": ACTIVATIONS[config.activation],
        **_computed_fields(kind, config),
    }
    if kind.model_type == "clip_vision_model":
        written["projection_dim"] = len(class_names) or config.hidden_dim
    elif has_head:
        written["id2label"] = {str(index): name for index, name in enumerate(class_names)}
        written["label2id"] = {name: index for index, name in enumerate(class_names)}
    prefix = _PREFIXES.get(kind.model_type, f"{kind.model_type}." if has_head else "")
    masks = {
        "dinov2": (1, config.hidden_dim),
        "dinov2_with_registers": (1, config.hidden_dim),
        "dinov3_vit": (1, 1, config.hidden_dim),
    }
    unused = {"embeddings.mask_token": masks[kind.model_type]} if kind.model_type in masks else {}
    return HuggingFaceModel(kind.table, prefix, _OUTSIDE, written, unused)


def _reasons(kind: _Kind, config: ViTConfig, has_head: bool) -> list[str]:
    # Normalising one token is the same before it is picked as after.
    plain = config.replace(final_norm="before") if config.pooling == "token" else config
    if kind.model_type == "vit" and not has_head:  # its pooler is our pre_logits
        plain = plain.replace(pre_logits_dim=None)
    reasons = misfits(plain, kind.allowed)
    if (config.layer_scale is not None) != kind.scaled:
        reasons.append(f"layer_scale={config.layer_scale!r} {'must be given' if kind.scaled else 'is not known there'}")
    if has_head and kind.headed is None:
        reasons.append("it has no class with a head; write the model without one")
    if has_head and kind.model_type.startswith("dinov2") and config.pooling != "token_and_mean":
        reasons.append(f'its head sees pooling="token_and_mean", not {config.pooling!r}')
    if kind.square and len(set(config.image_size)) != 1:
        reasons.append(f"its images are square, not {config.image_size}")
    if config.gated_mlp and True in kind.allowed["gated_mlp"] and config.activation != "silu":
        reasons.append(f'its gates are activation="silu", not {config.activation!r}')
    if kind.model_type.startswith("dinov2") and _mlp_ratio(config) is None:
        reasons.append(
            f"mlp_dim={config.mlp_dim} is no whole multiple as it counts them of hidden_dim={config.hidden_dim}"
        )
    return reasons


def _computed_fields(kind: _Kind, config: ViTConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if kind.model_type.startswith("dinov2"):
        fields["mlp_ratio"] = _mlp_ratio(config)
    if kind.model_type in ("vit", "deit", "dinov2", "dinov2_with_registers"):
        fields["qkv_bias"] = config.qkv_bias == "all"
    if config.pre_logits_dim is not None:
        fields |= {"pooler_output_size": config.pre_logits_dim, "pooler_act": "tanh"}
    if kind.model_type == "dinov3_vit":
        fields |= {
            "query_bias": config.qkv_bias != "none",
            "key_bias": config.qkv_bias == "all",
            "value_bias": config.qkv_bias != "none",
        }
    return fields


def _mlp_ratio(config: ViTConfig) -> int | None:
    """Returns the whole number from which Dinov2 makes this `mlp_dim`: gated, it takes two thirds and rounds up to eights."""
    for ratio in range(1, 17):
        inside = config.hidden_dim * ratio
        if config.mlp_dim == ((int(inside * 2 / 3) + 7) // 8 * 8 if config.gated_mlp else inside):
            return ratio
    return None
