"""Writes transformers' config.json."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.config_fields import HF_ACTIVATIONS, HF_FIELDS, HF_SHARED_FIELDS, dinov2_mlp_dim
from vit_keras.weights.mappings.libraries.huggingface import (
    HF_AIMV2,
    HF_BEIT,
    HF_CLIP,
    HF_DINOV2,
    HF_DINOV3,
    HF_INTERNVL,
    HF_SIGLIP,
    HF_VIT,
)
from vit_keras.weights.mappings.tables import Table
from vit_keras.weights.writers.requirements import PLAIN, find_kind, list_misfits


@dataclass(frozen=True)
class HuggingFaceModel:
    """One of transformers' models."""

    table: Table
    prefix: str  # of its tensors' names
    config: dict[str, Any]  # its config.json
    unused: Mapping[
        str, tuple[int, ...]
    ]  # shapes of tensors without effect: a token for masked patches, an unused norm

    def full_name(self, name: str) -> str:
        """Returns a tensor's name in the model; heads have no prefix."""
        return name if name.startswith(_HEADS) else self.prefix + name


@dataclass(frozen=True)
class _Kind:
    table: Table
    allowed: Mapping[str, Collection[Any]]
    headless: str | None  # class without a head
    headed: str | None = None  # class with a head
    with_one_head: str | None = None  # class with one head, where `headed` has two
    layer_scale: bool | None = False  # whether it has layer scale; None for either
    square: bool = False  # takes only square images
    mask_token: tuple[int, ...] = ()  # shape without the last axis


_QKV_BIAS = {"qkv_bias": ("all", "none")}
_DINOV2 = {**PLAIN, **_QKV_BIAS, "gated_mlp": (True, False), "pooling": ("token_and_mean", "token")}
_KINDS = {
    "vit": _Kind(HF_VIT, {**PLAIN, **_QKV_BIAS}, "ViTModel", "ViTForImageClassification"),
    "deit": _Kind(
        HF_VIT, {**PLAIN, **_QKV_BIAS, "distillation_token": (True,), "distillation_head": (True, False)},
        "DeiTModel", "DeiTForImageClassificationWithTeacher", with_one_head="DeiTForImageClassification",
    ),
    "dinov2": _Kind(
        HF_DINOV2, _DINOV2, "Dinov2Model", "Dinov2ForImageClassification", layer_scale=True, square=True, mask_token=(1,),
    ),
    "dinov2_with_registers": _Kind(
        HF_DINOV2, {**_DINOV2, "num_registers": range(1, 257), "position_on_prefix": (False,)},
        "Dinov2WithRegistersModel", "Dinov2WithRegistersForImageClassification", layer_scale=True, square=True, mask_token=(1,),
    ),
    "dinov3_vit": _Kind(
        HF_DINOV3,
        {
            **PLAIN, "gated_mlp": (True, False), "num_registers": range(257), "position_embedding": ("none",),
            "rotary_embedding": ("centered",), "rotary_order": ("yx",), "qkv_bias": ("all", "query_value", "none"),
        },
        "DINOv3ViTModel", layer_scale=True, mask_token=(1, 1),
    ),
    "siglip2_vision_model": _Kind(
        HF_SIGLIP,
        {
            **PLAIN, "class_token": (False,), "pooling": ("map",), "max_num_patches": range(1, 16_385),
            "position_resize": ("bilinear_antialias",),
        },
        "Siglip2VisionModel", square=True,
    ),
    "internvl_vision": _Kind(
        HF_INTERNVL, {**PLAIN, **_QKV_BIAS, "pooling": ("token", "mean"), "final_norm": ("none",)}, "InternVLVisionModel",
        layer_scale=True,
    ),
    "beit": _Kind(
        HF_BEIT,
        {
            **PLAIN, "qkv_bias": ("query_value",), "position_embedding": ("learned", "none"), "relative_position": ("none", "table"),
            "relative_position_shared": (True, False), "pooling": ("token", "mean"), "final_norm": ("before", "after"),
        },
        "BeitModel", "BeitForImageClassification", layer_scale=None, square=True,
    ),
    "aimv2_vision_model": _Kind(
        HF_AIMV2,
        {
            **PLAIN, "class_token": (False,), "pooling": ("mean",), "gated_mlp": (True,), "qkv_bias": ("none",), "norm": ("rms",),
            "patch_norm": (True,), "projection_bias": (False,), "position_embedding": ("learned", "sincos2d_mae"),
        },
        "Aimv2VisionModel", square=True,
    ),
    "siglip_vision_model": _Kind(
        HF_SIGLIP, {**PLAIN, "class_token": (False,), "pooling": ("map",)}, "SiglipVisionModel", square=True,
    ),
    "clip_vision_model": _Kind(
        HF_CLIP, {**PLAIN, "patch_bias": (False,), "stem_norm": (True,)}, "CLIPVisionModel", "CLIPVisionModelWithProjection",
        square=True,
    ),
    "clip": _Kind(
        HF_CLIP, {**PLAIN, "patch_bias": (False,), "stem_norm": (True,), "pooling": ("mean",), "final_norm": ("none",)},
        None, "CLIPForImageClassification", square=True,
    ),
}  # fmt: skip
_PREFIXES = {
    **dict.fromkeys(("siglip_vision_model", "siglip2_vision_model", "clip_vision_model", "clip"), "vision_model."),
    **dict.fromkeys(("dinov3_vit", "internvl_vision", "aimv2_vision_model"), ""),
}
_HEADS = ("classifier.", "cls_classifier.", "distillation_classifier.", "visual_projection.")


def huggingface_model(config: ViTConfig, class_names: Sequence[str]) -> HuggingFaceModel:
    """Returns transformers' model for a config."""
    has_head = bool(class_names)
    model_type = find_kind("transformers", {name: _list_reasons(name, config, has_head) for name in _KINDS})
    kind = _KINDS[model_type]
    headed = kind.headed if config.has_two_heads else kind.with_one_head or kind.headed
    tower = "clip_vision_model" if model_type == "clip" else model_type
    written = {
        "architectures": [headed if has_head and headed is not None else kind.headless],
        "model_type": tower,
        **_write_fields(config, HF_FIELDS[tower]),
        **_compute_fields(model_type, config),
    }
    unused = {"embeddings.mask_token": (*kind.mask_token, config.hidden_dim)} if kind.mask_token else {}
    if model_type == "clip":  # a model of images and text, of which this class has the tower
        written = {"architectures": written.pop("architectures"), "model_type": model_type, "vision_config": written}
        unused = dict.fromkeys(("post_layernorm.weight", "post_layernorm.bias"), (config.hidden_dim,))
    if model_type == "clip_vision_model":
        written["projection_dim"] = len(class_names) or config.hidden_dim
    elif has_head:
        written["id2label"] = {str(index): name for index, name in enumerate(class_names)}
        written["label2id"] = {name: index for index, name in enumerate(class_names)}
    prefix = _PREFIXES.get(model_type, f"{model_type}." if has_head else "")
    return HuggingFaceModel(kind.table, prefix, written, unused)


def masked_autoencoder_model(config: ViTConfig, decoder: Mapping[str, Any]) -> HuggingFaceModel:
    """Returns transformers' ViTMAE for an encoder, which it doesn't pool, and the fields of its decoder."""
    plain = config.replace(pre_logits_dim=None)
    if config.class_token and config.final_norm != "none":
        plain = plain.replace(pooling="token", final_norm="before")
    reasons = list_misfits(plain, {**PLAIN, **_QKV_BIAS, "layer_scale": (None,)})
    if len(set(config.image_size)) != 1:
        reasons.append(f"its images are square, not {config.image_size}")
    find_kind("transformers", {"vit_mae": reasons})
    written = {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        **_write_fields(plain, HF_FIELDS["vit"]),
        **_compute_fields("vit", plain),
        **decoder,
    }
    return HuggingFaceModel(HF_VIT, "vit.", written, {})


def _write_fields(config: ViTConfig, fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        **{theirs: getattr(config, ours) for theirs, ours in {**HF_SHARED_FIELDS, **fields}.items()},
        "image_size": config.image_size[0] if len(set(config.image_size)) == 1 else list(config.image_size),
        "hidden_act": HF_ACTIVATIONS[config.activation],
    }


def _list_reasons(model_type: str, config: ViTConfig, has_head: bool) -> list[str]:
    kind, is_dinov2 = _KINDS[model_type], model_type.startswith("dinov2")
    # Normalizing one token gives the same before and after it is picked.
    is_token = config.pooling == "token" and config.final_norm == "after"
    plain = config.replace(final_norm="before") if is_token else config
    if model_type == "vit" and not has_head:  # its pooler is our pre_logits
        plain = plain.replace(pre_logits_dim=None)
    reasons = list_misfits(plain, kind.allowed)
    if kind.layer_scale is not None and (config.layer_scale is not None) != kind.layer_scale:
        reasons.append(
            f"layer_scale={config.layer_scale!r} {'must be given' if kind.layer_scale else 'does not exist there'}"
        )
    if has_head and kind.headed is None:
        reasons.append("it has no class with a head; write the model without one")
    if not has_head and kind.headless is None:
        reasons.append("it has no class without a head; write the model with one")
    if has_head and is_dinov2 and config.pooling != "token_and_mean":
        reasons.append(f'the input of its head is pooling="token_and_mean", not {config.pooling!r}')
    if model_type == "beit" and config.pooling == "mean" and config.final_norm == "before":
        reasons.append('with pooling="mean", its final_norm is "after", not "before"')
    if kind.square and len(set(config.image_size)) != 1:
        reasons.append(f"its images are square, not {config.image_size}")
    if config.gated_mlp and True in kind.allowed["gated_mlp"] and config.activation != "silu":
        reasons.append(f'its gated MLP has activation="silu", not {config.activation!r}')
    if is_dinov2 and _find_mlp_ratio(config) is None:
        reasons.append(f"no integer mlp_ratio gives mlp_dim={config.mlp_dim} for hidden_dim={config.hidden_dim}")
    return reasons


def _compute_fields(model_type: str, config: ViTConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if model_type.startswith("dinov2"):
        fields["mlp_ratio"] = _find_mlp_ratio(config)
    if model_type in ("vit", "deit", "dinov2", "dinov2_with_registers"):
        fields["qkv_bias"] = config.qkv_bias == "all"
    if model_type == "beit":
        fields |= {
            "layer_scale_init_value": config.layer_scale or 0.0,
            "use_absolute_position_embeddings": config.position_embedding == "learned",
            "use_relative_position_bias": config.relative_position == "table" and not config.relative_position_shared,
            "use_shared_relative_position_bias": config.relative_position_shared,
            "use_mean_pooling": config.pooling == "mean",
        }
    if model_type == "aimv2_vision_model":
        fields |= {"qkv_bias": False, "mlp_bias": False, "use_head": False}
        fields["is_native"] = config.position_embedding == "sincos2d_mae"
    if config.pre_logits_dim is not None:
        fields |= {"pooler_output_size": config.pre_logits_dim, "pooler_act": "tanh"}
    if model_type == "siglip2_vision_model":
        fields["num_patches"] = config.num_positions
    if model_type == "internvl_vision":
        fields["attention_bias"] = config.qkv_bias == "all"
    if model_type == "dinov3_vit":
        has_bias = config.qkv_bias != "none"
        fields |= {"query_bias": has_bias, "key_bias": config.qkv_bias == "all", "value_bias": has_bias}
    return fields


def _find_mlp_ratio(config: ViTConfig) -> int | None:
    ratios = range(1, 17)
    return next(
        (r for r in ratios if dinov2_mlp_dim(config.hidden_dim, r, gated=config.gated_mlp) == config.mlp_dim), None
    )
