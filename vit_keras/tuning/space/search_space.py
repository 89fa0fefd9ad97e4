"""`SearchSpace`: the dimensions of a search by name."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.tuning.space.dimensions import Choice, Dimension, FloatRange, IntRange
from vit_keras.validation import closest, list_words

Values = dict[str, Any]
_KINDS: dict[str, type[Any]] = {"choice": Choice, "int": IntRange, "float": FloatRange}
_KIND_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True)
class SearchSpace:
    """Dimensions by name; every combination of their values can be proposed.

    Raises:
        InvalidArgumentError: There are none.

    Example:
        >>> space = SearchSpace({"num_layers": IntRange(2, 12), "learning_rate": FloatRange(1e-4, 1e-2, log=True)})
        >>> space.fix(num_layers=6).sample(np.random.default_rng(0))
        {'num_layers': 6, 'learning_rate': 0.000346}
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise InvalidArgumentError("The search space is empty: give one or more dimensions.")
        object.__setattr__(self, "dimensions", dict(self.dimensions))

    def sample(self, rng: np.random.Generator) -> Values:
        """Returns random values."""
        return {name: dimension.from_unit(float(rng.random())) for name, dimension in self.dimensions.items()}

    def encode(self, values: Mapping[str, Any]) -> np.ndarray:
        """Returns values as a point of the unit cube; strings are one-hot encoded."""
        return np.concatenate([dimension.coordinates(values[name]) for name, dimension in self.dimensions.items()])

    def has(self, values: Mapping[str, Any]) -> bool:
        """Returns whether there is a legal value of each dimension and no other."""
        is_complete = values.keys() == self.dimensions.keys()
        return is_complete and all(dimension.has(values[name]) for name, dimension in self.dimensions.items())

    def choose(self, wanted: Mapping[str, Any]) -> Values:
        """Returns the wanted value of each dimension if it is legal, otherwise the one in the middle."""
        return {
            name: wanted[name] if name in wanted and dimension.has(wanted[name]) else dimension.from_unit(0.5)
            for name, dimension in self.dimensions.items()
        }

    def fix(self, **values: Any) -> "SearchSpace":
        """Returns the space with a single value for some dimensions.

        Raises:
            InvalidArgumentError: There is no such dimension.
        """
        return self.narrow(**{name: Choice((value,)) for name, value in values.items()})

    def narrow(self, **dimensions: Dimension) -> "SearchSpace":
        """Returns the space with some of its dimensions replaced.

        Raises:
            InvalidArgumentError: There is no such dimension.
        """
        unknown = [name for name in dimensions if name not in self.dimensions]
        if unknown:
            raise InvalidArgumentError(
                f"The search space has no {', '.join(unknown)}; the closest are {list_words(closest(unknown[0], self.dimensions))} of "
                f"{', '.join(self.dimensions)}."
            )
        return self.add(**dimensions)

    def add(self, **dimensions: Dimension) -> "SearchSpace":
        """Returns the space with more dimensions, or others of the same name."""
        return SearchSpace({**self.dimensions, **dimensions})

    def merge(self, space: "SearchSpace | Mapping[str, Any] | str | Path | None") -> "SearchSpace":
        """Returns the space with the dimensions of another in place of its own, and added to them."""
        if space is None:
            return self
        if isinstance(space, str | Path):
            space = SearchSpace.from_file(space)
        return self.add(**(space if isinstance(space, SearchSpace) else SearchSpace.from_dict(space)).dimensions)

    def to_dict(self) -> dict[str, Any]:
        """Returns the space as JSON can hold it."""
        dimensions = self.dimensions.items()
        return {name: {"kind": _KIND_NAMES[type(each)], **each.to_dict()} for name, each in dimensions}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], *, where: str = "The search space") -> "SearchSpace":
        """Returns the space of a dictionary, as `to_dict` or a person writes it: a list is a choice, a single value is fixed.

        Args:
            fields: Dimensions by name.
            where: Origin of the fields, for error messages.

        Raises:
            InvalidArgumentError: One is not a dimension; the message names it.
        """
        return cls({name: _parse_dimension(name, value, where) for name, value in fields.items()})

    @classmethod
    def from_file(cls, path: str | Path) -> "SearchSpace":
        """Returns the space of a TOML or JSON file, as `from_dict` reads it.

        Args:
            path: The file; JSON if it ends in .json.

        Raises:
            CorruptFileError: It cannot be read.
            InvalidArgumentError: It holds something that is not a dimension.
        """
        path = Path(path)
        try:
            content = path.read_text("utf-8")
            fields = json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
        except (OSError, ValueError) as error:
            raise CorruptFileError(f"{path}: could not be read as a search space ({error}).") from error
        if not isinstance(fields, dict):
            raise InvalidArgumentError(f"{path}: expected dimensions by name, not a {type(fields).__name__}.")
        return cls.from_dict(fields, where=str(path))

    @property
    def digest(self) -> str:
        """SHA-256 of the space as `to_dict` returns it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _parse_dimension(name: str, value: Any, where: str) -> Dimension:
    if isinstance(value, Choice | IntRange | FloatRange):
        return value
    try:
        if isinstance(value, Mapping):
            fields = dict(value)
            kind = _KINDS[fields.pop("kind")] if "kind" in fields else _infer_kind(fields)
            dimension: Dimension = kind.from_dict(fields)
            return dimension
        return Choice(tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,))
    except (InvalidArgumentError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"{where}: {name} is not a dimension ({error}). Expected a value, a list of values, or low and high (with step for integers, "
            "or log = true)."
        ) from error


def _infer_kind(fields: Mapping[str, Any]) -> type[Any]:
    if "values" in fields:
        return Choice
    integers = all(type(fields.get(name)) is int for name in ("low", "high")) and "log" not in fields
    return IntRange if integers else FloatRange
