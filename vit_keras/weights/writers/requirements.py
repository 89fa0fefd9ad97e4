"""Checks whether another library can express a model."""

from collections.abc import Collection, Mapping
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words

PLAIN: Mapping[str, Collection[Any]] = {
    "stem": ("patch",),
    "max_num_patches": (None,),
    "patch_bias": (True,),
    "class_token": (True,),
    "distillation_token": (False,),
    "distillation_head": (True,),
    "num_registers": (0,),
    "position_embedding": ("learned",),
    "rotary_embedding": ("none",),
    "rotary_offset": (0.0,),
    "relative_position": ("none",),
    "relative_position_shared": (False,),
    "patch_norm": (False,),
    "stem_norm": (False,),
    "qkv_bias": ("all",),
    "qk_norm": (False,),
    "attention_inner_norm": (False,),
    "differential_attention": (False,),
    "projection_bias": (True,),
    "block_norm": ("before",),
    "norm": ("layer",),
    "parallel_block": (False,),
    "gated_mlp": (False,),
    "mlp_inner_norm": (False,),
    "pre_logits_dim": (None,),
    "pooling": ("token",),
    "map_includes_prefix": (True,),
    "num_map_heads": (None,),
    "map_mlp_dim": (None,),
    "final_norm": ("before",),
}
"""Legal values of these fields for the original Vision Transformer."""

WRITTEN = (
    "image_size", "patch_size", "hidden_dim", "num_layers", "num_heads", "mlp_dim", "channels", "pixel_mean", "pixel_std",
    "position_on_prefix", "rotary_temperature", "rotary_order", "rotary_reference", "norm_epsilon", "activation", "layer_scale",
    "partial_patches",
    "relative_position_dim",
)  # fmt: skip
"""Fields that are written whatever their value, unless a kind of model limits them; other libraries always crop partial patches."""

NOT_WRITTEN = (
    "dynamic_image_size", "position_resize", "patch_resize", "dropout_rate", "attention_dropout_rate", "stochastic_depth_rate", "remat",
)  # fmt: skip
"""Fields that do not change the outputs of a trained model at its own size."""


def list_misfits(config: ViTConfig, allowed: Mapping[str, Collection[Any]]) -> list[str]:
    """Returns the reasons why a config is not of a kind of model."""
    return [
        f"{name}={getattr(config, name)!r} is none of {_list_values(values)}"
        for name, values in allowed.items()
        if getattr(config, name) not in values
    ]


def _list_values(values: Collection[Any]) -> str:
    return f"{values[0]} to {values[-1]}" if isinstance(values, range) else list_words(values)


def find_kind(library: str, reasons: Mapping[str, list[str]]) -> str:
    """Returns the first kind of model without a reason against it."""
    nearest = min(reasons, key=lambda kind: len(reasons[kind]))
    if reasons[nearest]:
        raise InvalidArgumentError(
            f"{library} has no such model. The nearest is {nearest}, but {'; '.join(reasons[nearest])}."
        )
    return nearest


def check_preprocessing(preprocessing: Preprocessing, config: ViTConfig) -> None:
    """Raises `InvalidArgumentError` where the preprocessing makes images of another size or other channels than the model's."""
    made, taken = preprocessing.image_shape, config.image_shape
    if made != taken:
        raise InvalidArgumentError(
            f"The preprocessing makes images of {made} (height, width, channels), and the model takes {taken}; they must be equal."
        )


def repeat_per_channel(values: tuple[float, ...], channels: int) -> list[float]:
    """Returns one value per channel."""
    return list(values) if len(values) == channels else list(values) * channels
