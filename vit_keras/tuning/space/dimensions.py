"""Dimensions of a search space. Each maps its values to the unit interval and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import FrozenConfig, is_number

_DIGITS = 3  # significant digits of a value from a range: smaller differences make no difference in training


class _Listed(FrozenConfig):
    """A dimension with finitely many values, in order."""

    values: Sequence[Any]

    def has(self, value: Any) -> bool:
        return any(value == each and type(value) is type(each) for each in self.values)

    def to_unit(self, value: Any) -> float:
        place: float = (self.values.index(value) + 0.5) / len(self.values)
        return place

    def from_unit(self, place: float) -> Any:
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def coordinates(self, value: Any) -> list[float]:
        return [self.to_unit(value)]


@dataclass(frozen=True)
class Choice(_Listed):
    """One of several values; numbers are sorted, strings and booleans have no order.

    Args:
        values: All numbers, all strings, or all booleans.

    Raises:
        InvalidArgumentError: There are none, one is given twice, or they are of several kinds.

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
                f"Choice: expected one or more different values, all numbers, all strings or all booleans, not {list(self.values)}."
            )
        if kinds == {float}:
            object.__setattr__(self, "values", tuple(sorted(self.values)))

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers."""
        return is_number(self.values[0])

    def coordinates(self, value: Any) -> list[float]:
        """Returns a value's coordinates: its place, or a one-hot vector if the values have no order."""
        return [self.to_unit(value)] if self.is_ordered else [float(value == each) for each in self.values]


@dataclass(frozen=True)
class IntRange(_Listed):
    """An integer from a range.

    Args:
        low: Minimum.
        high: Maximum, included.
        step: Difference of neighboring values.

    Raises:
        InvalidArgumentError: The minimum is above the maximum, or the step is not positive.

    Example:
        >>> [IntRange(2, 12, step=2).from_unit(place) for place in (0.0, 0.5, 1.0)]
        [2, 8, 12]
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        integers = all(type(value) is int for value in (self.low, self.high, self.step))
        if not integers or self.low > self.high or self.step < 1:
            raise InvalidArgumentError(f"{self}: expected integers with low <= high and step >= 1.")

    @property
    def values(self) -> range:  # type: ignore[override]
        """All values, in order."""
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True)
class FloatRange(FrozenConfig):
    """A number from a range, rounded to three significant digits.

    Args:
        low: Minimum.
        high: Maximum.
        log: Whether the scale is logarithmic, as it should be for learning rates.

    Raises:
        InvalidArgumentError: The minimum is not below the maximum, or not positive on a logarithmic scale.

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
            raise InvalidArgumentError(f"{self}: expected numbers with low < high, and low > 0 where log=True.")

    def has(self, value: Any) -> bool:
        """Returns whether a value is legal."""
        return is_number(value) and self.low <= value <= self.high

    def to_unit(self, value: Any) -> float:
        """Returns a value's place from 0 to 1."""
        low, high = self._scale(self.low), self._scale(self.high)
        return (self._scale(value) - low) / (high - low)

    def from_unit(self, place: float) -> float:
        """Returns the value at a place from 0 to 1."""
        low, high = self._scale(self.low), self._scale(self.high)
        value = low + place * (high - low)
        rounded = float(f"{math.exp(value) if self.log else value:.{_DIGITS}g}")
        return min(max(rounded, float(self.low)), float(self.high))

    def coordinates(self, value: Any) -> list[float]:
        """Returns a value's place in a list."""
        return [self.to_unit(value)]

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value


Dimension = Choice | IntRange | FloatRange


def list_values(dimension: Dimension) -> list[Any]:
    """Returns the values of a choice or an integer range in order; raises `InvalidArgumentError` for real numbers."""
    if isinstance(dimension, FloatRange):
        raise InvalidArgumentError(f"{dimension} has too many values to list: give a list of values, or integers.")
    return list(dimension.values)
