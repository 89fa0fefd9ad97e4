"""Finds the presets near a preset: of the same shape, and the next smaller and larger one of its family."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from vit_keras.config import ViTConfig
from vit_keras.presets.preset import Preset
from vit_keras.validation import FrozenConfig

SHAPE_FIELDS = (
    "hidden_dim", "num_layers", "mlp_dim", "patch_size", "class_token", "distillation_token", "num_registers", "qk_norm", "stem_norm",
    "gated_mlp", "parallel_block", "mlp_inner_norm", "attention_inner_norm", "relative_position", "relative_position_shared", "norm", "patch_norm",
    "projection_bias", "differential_attention",
)  # fmt: skip
"""Fields of `ViTConfig` that must be equal for weights to fit."""

# The last four are of no weight, but of another function.
_shape = attrgetter(*SHAPE_FIELDS, "num_heads", "stem", "block_norm", "rotary_embedding")
_width_and_depth = attrgetter("hidden_dim", "num_layers", "mlp_dim")


@dataclass(frozen=True, kw_only=True)
class Relatives(FrozenConfig):
    """Names of the presets near one.

    Args:
        same_shape: Presets of any family that have blocks of the same sizes, for other weights or another image size.
        smaller: The next preset of the family with fewer parameters and another width or depth; None for the smallest.
        larger: The next one with more.
    """

    same_shape: tuple[str, ...] = ()
    smaller: str | None = None
    larger: str | None = None


def find_relatives(preset: Preset, presets: Iterable[Preset]) -> Relatives:
    """Returns the presets near one among all presets."""
    others = [each for each in presets if each.name != preset.name]
    shape = _shape(preset.config)
    same = [each for each in others if _shape(each.config) == shape]
    same.sort(key=lambda each: (each.family != preset.family, each.config.image_size, each.name))
    family = [
        each
        for each in others
        if each.family == preset.family and _width_and_depth(each.config) != _width_and_depth(preset.config)
    ]
    smaller = [each for each in family if each.params < preset.params]
    larger = [each for each in family if each.params > preset.params]
    return Relatives(
        same_shape=tuple(each.name for each in same),
        smaller=_nearest(preset, smaller, max(smaller, key=lambda each: each.params, default=None)),
        larger=_nearest(preset, larger, min(larger, key=lambda each: each.params, default=None)),
    )


def _nearest(preset: Preset, presets: list[Preset], next_one: Preset | None) -> str | None:
    """Returns, of the presets that are as wide and deep as the next one, the most similar to a preset."""
    if next_one is None:
        return None
    alike = [each for each in presets if _width_and_depth(each.config) == _width_and_depth(next_one.config)]
    own = preset.config
    best = min(
        alike,
        key=lambda each: (
            each.config.patch_size != own.patch_size,
            each.config.image_size != own.image_size,
            sum(one != other for one, other in zip(_all_values(each.config), _all_values(own), strict=True)),
            not each.weights,
            abs(each.params - preset.params),
            each.name,
        ),
    )
    return best.name


def _all_values(config: ViTConfig) -> list[object]:
    return list(vars(config).values())
