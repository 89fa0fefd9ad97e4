"""Chooses presets and weights by their size, cost, accuracy, license and training."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from vit_keras.errors import InvalidArgumentError
from vit_keras.presets.catalog import all_presets
from vit_keras.presets.label_sets import LABEL_SETS
from vit_keras.presets.preset import PRETRAININGS, Checkpoint, Preset
from vit_keras.validation import FrozenConfig, closest, is_number, list_words

NO_LABELS = "none"
"""In place of a label set: weights without a classification head."""

_ORDERS: dict[str, Callable[[Preset, float], Any]] = {
    "name": lambda preset, top1: 0,
    "params": lambda preset, top1: preset.config.num_params,
    "gmacs": lambda preset, top1: preset.config.num_macs,
    "image_size": lambda preset, top1: preset.config.image_size,
    "top1": lambda preset, top1: -top1,
}
ORDERS = tuple(_ORDERS)
"""What presets are sorted by: the smallest first, and the most accurate."""


_LIST_WORDS: dict[str, Callable[[], list[str]]] = {
    "family": lambda: sorted({preset.family for preset in all_presets().values()}),
    "license": lambda: sorted({each.license for preset in all_presets().values() for each in preset.weights.values()}),
    "pretraining": lambda: list(PRETRAININGS),
    "label_set": lambda: [*LABEL_SETS, NO_LABELS],
}
"""The known values of each condition that is a word."""


@dataclass(frozen=True, kw_only=True)
class Conditions(FrozenConfig):
    """What presets and weights have to meet; None for anything. `list_presets` describes them.

    Raises:
        InvalidArgumentError: One of them is unknown or no number; the message has all reasons.
    """

    family: str | None = None
    image_size: int | tuple[int, int] | None = None
    max_params: float | None = None
    max_gmacs: float | None = None
    min_top1: float | None = None
    license: str | None = None
    pretraining: str | None = None
    label_set: str | None = None

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in ("max_params", "max_gmacs", "min_top1")}
        problems = [
            f"{name}={value!r} is not a number"
            for name, value in numbers.items()
            if not (value is None or is_number(value))
        ]
        words = {name: getattr(self, name) for name in _LIST_WORDS}
        for name, value in words.items():
            if value is not None and value not in (known := _LIST_WORDS[name]()):
                hint = closest(str(value), known, count=1)
                nearest = f" (did you mean {hint[0]!r}?)" if hint else ""
                problems.append(f"{name}={value!r} is unknown{nearest}: expected one of {list_words(known)}")
        sides = self._sides()
        if sides is not None and (len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides)):
            problems.append(f"image_size={self.image_size!r} is neither a positive number of px nor (height, width)")
        if problems:
            raise InvalidArgumentError(f"{'; '.join(problems)}.")

    @property
    def are_on_weights(self) -> bool:
        """Whether a condition is about weights, and not about the architecture alone."""
        return any(each is not None for each in (self.min_top1, self.license, self.pretraining, self.label_set))

    def allow_preset(self, preset: Preset) -> bool:
        """Whether a preset's architecture meets the conditions."""
        return (
            self.family in (None, preset.family)
            and self._sides() in (None, preset.config.image_size)
            and (self.max_params is None or preset.config.num_params <= self.max_params)
            and (self.max_gmacs is None or preset.config.num_macs / 1e9 <= self.max_gmacs)
        )

    def allow_weights(self, checkpoint: Checkpoint) -> bool:
        """Whether weights meet the conditions."""
        return (
            self.license in (None, checkpoint.license)
            and self.pretraining in (None, checkpoint.pretraining)
            and self.label_set in (None, checkpoint.label_set or NO_LABELS)
            and (self.min_top1 is None or (checkpoint.top1 or 0) >= self.min_top1)
        )

    def _sides(self) -> tuple[int, ...] | None:
        size = self.image_size
        return size if size is None or isinstance(size, tuple) else (size, size)


def _respell(name: str, value: Any) -> Any:
    """Returns a word as it is known, if it differs only in case, hyphens and underscores."""
    if not isinstance(value, str) or name not in _LIST_WORDS:
        return value
    known = {word.lower().replace("-", "_"): word for word in _LIST_WORDS[name]()}
    return known.get(value.lower().replace("-", "_"), value)


def list_presets(pattern: str = "*", *, sort_by: str = "name", **conditions: Any) -> list[str]:
    """Returns the names of the presets that meet all conditions, sorted.

    Conditions about weights (`min_top1`, `license`, `pretraining`, `label_set`) choose the presets that have at least one checkpoint
    which meets all of them.

    Args:
        pattern: A name with the wildcards `*`, `?` and `[...]`.
        sort_by: "name"; "params", "gmacs" or "image_size", the smallest first; or "top1", the most accurate first.
        **conditions: `family`, such as "dinov2"; `image_size`, px, or (height, width); `max_params` and `max_gmacs` (10^9
            multiply-adds per image), without a head; `min_top1`, ImageNet-1k accuracy in percent; `license`, such as "Apache-2.0";
            `pretraining`, "supervised", "self_supervised", "image_text" or "distilled", what weights were trained on first; `label_set`, such as
            "imagenet-1k", whose classes the head names, or "none" for weights without classes.

    Raises:
        InvalidArgumentError: A condition is unknown or no number.

    Example:
        >>> list_presets("vit_huge_patch1?_???")
        ['vit_huge_patch14_224', 'vit_huge_patch16_224', 'vit_huge_patch16_384']
        >>> list_presets("vit_*", pretraining="self_supervised", license="Apache-2.0", max_params=25e6, sort_by="gmacs")[:2]
        ['vit_small_patch16_224', 'vit_small_patch8_224']
    """
    if sort_by == "name" and not conditions:  # the presets need not be read
        return sorted(name for name in all_presets() if fnmatchcase(name, pattern))
    return [preset.name for preset, _ in _select(pattern, sort_by, conditions)]


def list_weights(pattern: str = "*", *, sort_by: str = "name", **conditions: Any) -> list[str]:
    """Returns the weights, as `NAME:TAG`, that meet all conditions, sorted; the arguments are those of `list_presets`.

    Raises:
        InvalidArgumentError: A condition is unknown or no number.

    Example:
        >>> list_weights(max_params=6e6, sort_by="top1")[0]
        'eva02_tiny_patch14_336:mim_in22k_ft_in1k'
    """
    rows = [
        (_ORDERS[sort_by](preset, checkpoint.top1 or 0), f"{preset.name}:{checkpoint.tag}")
        for preset, checkpoints in _select(pattern, sort_by, conditions)
        for checkpoint in checkpoints
    ]
    return [name for _, name in sorted(rows)]


def _select(pattern: str, sort_by: str, conditions: dict[str, Any]) -> list[tuple[Preset, list[Checkpoint]]]:
    """Returns the presets, sorted, that meet the conditions, each with those of its weights that do."""
    if sort_by not in _ORDERS:
        raise InvalidArgumentError(f"sort_by={sort_by!r}: expected one of {list_words(ORDERS)}.")
    Conditions.check_fields(conditions)
    checked = Conditions(**{name: _respell(name, value) for name, value in conditions.items()})
    rows = []
    for name in sorted(name for name in all_presets() if fnmatchcase(name, pattern)):
        preset = all_presets()[name]
        found = [each for each in preset.weights.values() if checked.allow_weights(each)]
        if checked.allow_preset(preset) and (found or not checked.are_on_weights):
            rows.append((_ORDERS[sort_by](preset, max((each.top1 or 0 for each in found), default=0)), preset, found))
    rows.sort(key=lambda row: row[0])
    return [(preset, found) for _, preset, found in rows]
