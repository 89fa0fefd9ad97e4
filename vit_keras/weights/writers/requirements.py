"""What a config must be for another library to have such a model."""

from collections.abc import Collection, Mapping
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError

PLAIN: Mapping[str, Collection[Any]] = {
    "stem": ("patch",),
    "patch_bias": (True,),
    "class_token": (True,),
    "distillation_token": (False,),
    "distillation_head": (True,),
    "num_registers": (0,),
    "position_embedding": ("learned",),
    "rotary_embedding": ("none",),
    "stem_norm": (False,),
    "qkv_bias": ("all",),
    "qk_norm": (False,),
    "parallel_block": (False,),
    "gated_mlp": (False,),
    "mlp_inner_norm": (False,),
    "pre_logits_dim": (None,),
    "pooling": ("token",),
    "map_includes_prefix": (True,),
    "final_norm": ("before",),
}
"""Fields of the original Vision Transformer, and the values they may have."""

WRITTEN = (
    "image_size", "patch_size", "hidden_dim", "num_layers", "num_heads", "mlp_dim", "channels", "pixel_mean", "pixel_std",
    "position_on_prefix", "rotary_temperature", "rotary_order", "rotary_reference", "norm_epsilon", "activation", "layer_scale",
)  # fmt: skip
"""Fields that are written with any value, but where a kind of model limits them."""

NOT_WRITTEN = (
    "position_resize",
    "patch_resize",
    "dropout_rate",
    "attention_dropout_rate",
    "stochastic_depth_rate",
    "remat",
)
"""Fields without a part in the outputs of a trained model at its own size."""


def misfits(config: ViTConfig, allowed: Mapping[str, Collection[Any]]) -> list[str]:
    """Returns what keeps a config from being a model of a kind, a reason each.

    Args:
        config: The model's.
        allowed: Values that each field may have.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=4, num_layers=1, num_heads=2, mlp_dim=8, qk_norm=True)
        >>> misfits(config, PLAIN)
        ['qk_norm=True is none of [False]']
    """
    return [
        f"{name}={getattr(config, name)!r} is none of {list(values)}"
        for name, values in allowed.items()
        if getattr(config, name) not in values
    ]


def refuse(library: str, reasons: Mapping[str, list[str]]) -> InvalidArgumentError:
    """Returns the error for a model that a library has no kind for, with the reasons of the nearest kind.

    Args:
        library: Whose.
        reasons: Reasons by kind.
    """
    nearest = min(reasons, key=lambda kind: len(reasons[kind]))
    return InvalidArgumentError(
        f"{library} has no such model. The nearest is {nearest}, but {'; '.join(reasons[nearest])}."
    )
