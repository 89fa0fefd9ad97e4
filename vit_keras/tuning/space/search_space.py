"""What may be tuned, and over which values: declared, without building anything."""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.validation import closest, is_number

_DIGITS = 3  # significant, of a number from a range: what differs by less trains the same
Values = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of some values; numbers are in their order, words are not.

    Args:
        values: Numbers, words, or truth values.

    Raises:
        InvalidArgumentError: There are none, or some twice, or of several kinds.

    Example:
        >>> Choice((16, 32, 64)).from_unit(0.5)
        32
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        kinds = {str if isinstance(value, str) else bool if isinstance(value, bool) else float for value in self.values}
        if not self.values or len(set(self.values)) != len(self.values) or len(kinds) != 1:
            raise InvalidArgumentError(
                f"A choice between {list(self.values)} is none: give one or more different values, all numbers, all words or all truth values."
            )
        if kinds == {float}:
            object.__setattr__(self, "values", tuple(sorted(self.values)))

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers."""
        return is_number(self.values[0])

    @property
    def width(self) -> int:
        """Coordinates of a point that stands for a value: one where they have an order, else one a value."""
        return 1 if self.is_ordered else len(self.values)

    def has(self, value: Any) -> bool:
        """Returns whether a value is one of these."""
        return any(value == each and type(value) is type(each) for each in self.values)

    def to_unit(self, value: Any) -> float:
        """Returns a value's place from 0 to 1."""
        place: float = (self.values.index(value) + 0.5) / len(self.values)
        return place

    def from_unit(self, place: float) -> Any:
        """Returns the value at a place from 0 to 1."""
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def coordinates(self, value: Any) -> list[float]:
        """Returns the coordinates of a value."""
        if self.is_ordered:
            return [self.to_unit(value)]
        return [float(value == each) for each in self.values]


@dataclass(frozen=True)
class IntRange:
    """A whole number from a range.

    Args:
        low: The least.
        high: The most, itself in it.
        step: Between two values.

    Raises:
        InvalidArgumentError: The least is above the most, or the step is not positive.

    Example:
        >>> [IntRange(2, 12, step=2).from_unit(place) for place in (0.0, 0.5, 1.0)]
        [2, 8, 12]
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        whole = all(type(value) is int for value in (self.low, self.high, self.step))
        if not whole or self.low > self.high or self.step < 1:
            raise InvalidArgumentError(
                f"{self} is no range: low, high and step are whole numbers, low no more than high, the step positive."
            )

    @property
    def width(self) -> int:
        """Coordinates of a point that stands for a value."""
        return 1

    @property
    def count(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def has(self, value: Any) -> bool:
        """Returns whether a value is one of these."""
        return type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def to_unit(self, value: Any) -> float:
        """Returns a value's place from 0 to 1."""
        place: float = ((value - self.low) // self.step + 0.5) / self.count
        return place

    def from_unit(self, place: float) -> int:
        """Returns the value at a place from 0 to 1."""
        return self.low + self.step * min(int(place * self.count), self.count - 1)

    def coordinates(self, value: Any) -> list[float]:
        """Returns the coordinates of a value."""
        return [self.to_unit(value)]


@dataclass(frozen=True)
class FloatRange:
    """A number from a range, to three significant digits.

    Args:
        low: The least.
        high: The most.
        log: Whether a factor counts, as it does for learning rates, and not a difference.

    Raises:
        InvalidArgumentError: The least is not below the most, or not positive where factors count.

    Example:
        >>> FloatRange(1e-4, 1e-2, log=True).from_unit(0.5)
        0.001
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        numbers = is_number(self.low) and is_number(self.high) and type(self.log) is bool
        if not numbers or self.low >= self.high or (self.log and self.low <= 0):
            raise InvalidArgumentError(
                f"{self} is no range: low and high are numbers, low below high, and above 0 where log=True."
            )

    @property
    def width(self) -> int:
        """Coordinates of a point that stands for a value."""
        return 1

    def has(self, value: Any) -> bool:
        """Returns whether a value is in the range."""
        return is_number(value) and self.low <= value <= self.high

    def to_unit(self, value: Any) -> float:
        """Returns a value's place from 0 to 1."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def from_unit(self, place: float) -> float:
        """Returns the value at a place from 0 to 1."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        value = low + place * (high - low)
        rounded = float(f"{math.exp(value) if self.log else value:.{_DIGITS}g}")
        return min(max(rounded, float(self.low)), float(self.high))

    def coordinates(self, value: Any) -> list[float]:
        """Returns the coordinates of a value."""
        return [self.to_unit(value)]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


Dimension = Choice | IntRange | FloatRange
_KINDS: dict[str, type[Any]] = {"choice": Choice, "int": IntRange, "float": FloatRange}
_WORDS = {kind: word for word, kind in _KINDS.items()}


@dataclass(frozen=True)
class SearchSpace:
    """Dimensions by name; every combination of their values can be asked for.

    Args:
        dimensions: What may be tuned.

    Raises:
        InvalidArgumentError: There are none.

    Example:
        >>> space = SearchSpace({"num_layers": IntRange(2, 12), "learning_rate": FloatRange(1e-4, 1e-2, log=True)})
        >>> space.fixed(num_layers=6).sample(np.random.default_rng(0))
        {'num_layers': 6, 'learning_rate': 0.000346}
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise InvalidArgumentError("The search space is empty: give one dimension or more.")

    def __getstate__(self) -> dict[str, Any]:
        """Returns what another process makes it of."""
        return self.to_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes it of that."""
        object.__setattr__(self, "dimensions", SearchSpace.from_dict(state).dimensions)

    def sample(self, rng: np.random.Generator) -> Values:
        """Returns values drawn at random.

        Args:
            rng: Draws.
        """
        places = rng.random(len(self.dimensions)).tolist()
        return {
            name: dimension.from_unit(place)
            for (name, dimension), place in zip(self.dimensions.items(), places, strict=True)
        }

    def encode(self, values: Mapping[str, Any]) -> np.ndarray:
        """Returns values as a point of the unit cube, words as one coordinate each.

        Args:
            values: One of each dimension; others are let be.
        """
        return np.array(
            [place for name, dimension in self.dimensions.items() for place in dimension.coordinates(values[name])]
        )

    def has(self, values: Mapping[str, Any]) -> bool:
        """Returns whether there is a value of each dimension, and no other.

        Args:
            values: By name.
        """
        return values.keys() == self.dimensions.keys() and all(
            dimension.has(values[name]) for name, dimension in self.dimensions.items()
        )

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises `InvalidArgumentError`, naming each, where values are not of this space.

        Args:
            values: By name.
        """
        self._check_names(values)
        wrong = [
            f"{name}={values.get(name)!r} is not in {dimension}"
            for name, dimension in self.dimensions.items()
            if name not in values or not dimension.has(values[name])
        ]
        if wrong:
            raise InvalidArgumentError(f"These values are not of the search space: {'; '.join(wrong)}.")

    def fixed(self, **values: Any) -> "SearchSpace":
        """Returns the space with one value of some dimensions.

        Args:
            **values: By name.

        Raises:
            InvalidArgumentError: There is no such dimension.
        """
        return self.narrowed(**{name: Choice((value,)) for name, value in values.items()})

    def narrowed(self, **dimensions: Dimension) -> "SearchSpace":
        """Returns the space with other values of dimensions that it has.

        Args:
            **dimensions: By name.

        Raises:
            InvalidArgumentError: There is no such dimension.
        """
        self._check_names(dimensions)
        return SearchSpace({**self.dimensions, **dimensions})

    def added(self, **dimensions: Dimension) -> "SearchSpace":
        """Returns the space with dimensions more.

        Args:
            **dimensions: By name: a field of `ViTConfig` or `Recipe`.
        """
        return SearchSpace({**self.dimensions, **dimensions})

    def to_dict(self) -> dict[str, Any]:
        """Returns the space as JSON can hold it."""
        return {
            name: {"kind": _WORDS[type(dimension)], **{key: _listed(value) for key, value in asdict(dimension).items()}}
            for name, dimension in self.dimensions.items()
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], *, where: str = "The search space") -> "SearchSpace":
        """Returns the space that `to_dict` wrote, or a person: a list is a choice, a number or word a fixed value.

        Args:
            fields: By name.
            where: What a message calls their origin.

        Raises:
            InvalidArgumentError: One is no dimension; it is named.
        """
        return cls({name: _dimension_of(name, value, where) for name, value in fields.items()})

    @classmethod
    def from_file(cls, path: str | Path) -> "SearchSpace":
        """Returns the space that a TOML or JSON file says, by `from_dict`.

        Args:
            path: The file; what ends in .json is JSON.

        Raises:
            CorruptFileError: It can't be read.
            InvalidArgumentError: It says something that is no dimension.
        """
        path = Path(path)
        try:
            content = path.read_text("utf-8")
            fields = json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
        except (OSError, ValueError) as error:
            raise CorruptFileError(f"{path}: could not be read as a search space ({error}).") from error
        if not isinstance(fields, dict):
            raise InvalidArgumentError(f"{path}: expected names with their values, not a {type(fields).__name__}.")
        return cls.from_dict(fields, where=str(path))

    @property
    def digest(self) -> str:
        """SHA-256 of what `to_dict` returns."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def _check_names(self, names: Mapping[str, Any]) -> None:
        unknown = [name for name in names if name not in self.dimensions]
        if unknown:
            raise InvalidArgumentError(
                f"The search space has no {', '.join(unknown)}; the closest are {closest(unknown[0], self.dimensions)} of "
                f"{', '.join(self.dimensions)}."
            )


def values_of(dimension: Dimension) -> list[Any]:
    """Returns the values of a dimension that has finitely many, in order.

    Args:
        dimension: A choice, or a range of whole numbers.

    Raises:
        InvalidArgumentError: It is a range of numbers.
    """
    if isinstance(dimension, FloatRange):
        raise InvalidArgumentError(f"{dimension} has too many values to list: give a list of values, or whole numbers.")
    if isinstance(dimension, IntRange):
        return list(range(dimension.low, dimension.high + 1, dimension.step))
    return list(dimension.values)


def _dimension_of(name: str, value: Any, where: str) -> Dimension:
    if isinstance(value, Choice | IntRange | FloatRange):
        return value
    try:
        if isinstance(value, Mapping):
            fields = dict(value)
            kind = _KINDS[fields.pop("kind")] if "kind" in fields else _kind_of(fields)
            dimension: Dimension = kind(**fields)
            return dimension
        return Choice(tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,))
    except (InvalidArgumentError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"{where}: {name} is no dimension ({error}). Expected a value, a list of values, or low and high (with step of whole numbers, "
            "or log = true)."
        ) from error


def _kind_of(fields: Mapping[str, Any]) -> type[Any]:
    if "values" in fields:
        return Choice
    whole = all(type(fields.get(name)) is int for name in ("low", "high")) and "log" not in fields
    return IntRange if whole else FloatRange


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
