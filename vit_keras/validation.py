"""Checks shared by all configs, and the base class of frozen configs."""

import dataclasses
import difflib
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self, TypeGuard

from vit_keras.errors import InvalidArgumentError


def closest(word: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Returns the known words most similar to `word`, the most similar first.

    >>> closest("vit_base_patch16", ["vit_tiny_patch16_224", "vit_base_patch16_224"], count=1)
    ['vit_base_patch16_224']
    """
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.3)


def list_words(words: Iterable[object], *, limit: int | None = None) -> str:
    """Returns words as a message lists them; beyond `limit`, how many more there are; "none" without any.

    >>> list_words(["timm", "huggingface"]), list_words("abcde", limit=2)
    ('timm, huggingface', 'a, b and 3 more')
    """
    listed = [str(word) for word in words]
    shown = ", ".join(listed[:limit]) or "none"
    return shown if limit is None or len(listed) <= limit else f"{shown} and {len(listed) - limit:,} more"


def is_number(value: object) -> TypeGuard[float]:
    """True for a finite int or float that is not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def resolve_indices(wanted: Sequence[int] | int | None, count: int, *, what: str) -> list[int]:
    """Returns indices from 0, those of all blocks or heads for None; negative ones count from the end."""
    indices: list[Any] = list(range(count))
    if wanted is not None:
        indices = [wanted] if isinstance(wanted, Integral) else list(wanted)  # type: ignore[arg-type]
    if not indices:
        raise InvalidArgumentError(f"No {what} was given: expected indices from 0 to {count - 1}, or None for all.")
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, Integral) or not -count <= int(index) < count:
            raise InvalidArgumentError(
                f"There is no {what} {index!r}: the model has {count}, 0 to {count - 1}, or -1 for the last."
            )
    return [int(index) % count for index in indices]


class FrozenConfig:
    """Base of frozen dataclasses: copies with changes, conversion to and from JSON, unknown names refused.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Crop(FrozenConfig):
        ...     size: tuple[int, int]
        >>> Crop.from_dict({"size": [32, 32]}).replace(size=(64, 64)).to_dict()
        {'size': [64, 64]}
        >>> Crop(size=(8, 8)).replace(sise=(4, 4))
        Traceback (most recent call last):
        vit_keras.errors.InvalidArgumentError: Crop: there is no field 'sise' (did you mean 'size'?). The fields are size.
    """

    _synonyms: ClassVar[Mapping[str, str]] = {}

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with these fields changed; raises `InvalidArgumentError` for an unknown field or an illegal value."""
        self.check_fields(changes, partial=True)
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """Returns every field as JSON can hold it."""
        return {name: _to_json(getattr(self, name)) for name in _required_by_name(type(self))}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the config that `to_dict` wrote; a missing field has its default."""
        cls.check_fields(values)
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @classmethod
    def check_fields(cls, values: Mapping[str, Any], *, partial: bool = False) -> None:
        """Raises `InvalidArgumentError` for unknown fields and, unless `partial`, for missing ones."""
        known = _required_by_name(cls)  # type: ignore[arg-type]  # mypy compares with the hash of an instance
        problems = []
        for name in values:
            if name in known:
                continue
            hint = closest(name, known, count=1)
            if name in cls._synonyms:
                problems.append(f"there is no field {name!r}: use {cls._synonyms[name]}")
            else:
                problems.append(f"there is no field {name!r}" + (f" (did you mean {hint[0]!r}?)" if hint else ""))
        missing = [name for name, required in known.items() if required and name not in values]
        if missing and not partial:
            problems.append(f"{list_words(missing)} must be given")
        if problems:
            raise InvalidArgumentError(
                f"{cls.__name__}: {'; '.join(problems)}. The fields are {list_words(sorted(known))}."
            )


@functools.cache
def _required_by_name(cls: type) -> Mapping[str, bool]:
    """Every field of the config's value (those that are compared), and whether it must be given."""
    fields = [field for field in dataclasses.fields(cls) if field.init and field.compare]
    missing = dataclasses.MISSING
    return {field.name: field.default is missing and field.default_factory is missing for field in fields}


def _to_json(value: Any) -> Any:
    if isinstance(value, FrozenConfig):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def hint_channels(shape: Sequence[int]) -> str:
    """Returns a sentence where an array of images has its channels first, as torch has them; else an empty string."""
    is_first = len(shape) in (3, 4) and shape[-3] in (1, 3) and shape[-1] not in (1, 3)
    order = (0, 2, 3, 1) if len(shape) == 4 else (1, 2, 0)
    return f" The channels seem to come first; transpose to {order}." if is_first else ""
