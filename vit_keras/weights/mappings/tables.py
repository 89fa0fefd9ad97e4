"""What a mapping table is: rows that say which of our weights are which of another library's, to be read either way."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.layouts import SAME, Layout

When: TypeAlias = Callable[[ViTConfig], bool]

GAP = ""
"""Stands in a row for numbers of theirs that we have no weight for, as wide as the row's others: keys' biases."""


def always(_: ViTConfig) -> bool:
    """Returns True."""
    return True


@dataclass(frozen=True)
class Way:
    """One way in which a library writes what a row holds.

    Args:
        names: Their tensors, side by side along our last axis; `{i}` is a block's number. None: numbers that are all zero.
        layout: How each is laid out.
        stacked: The axis over all blocks, where they are in one tensor.
        when: For which configs this way is the library's; only these are written, all are read.
    """

    names: tuple[str, ...]
    layout: Layout = SAME
    stacked: int | None = None
    when: When = always

    @property
    def a_block(self) -> bool:
        """Whether each block has tensors of its own."""
        return any("{i}" in name for name in self.names)


@dataclass(frozen=True)
class Row:
    """Weights of ours, side by side along their last axis, and the ways in which the library writes the same numbers.

    Args:
        targets: Our names; `{i}` is a block's number.
        ways: The library's.
    """

    targets: tuple[str, ...]
    ways: tuple[Way, ...]

    @property
    def a_block(self) -> bool:
        """Whether each block has these."""
        return any("{i}" in target for target in self.targets)

    def ways_for(self, config: ViTConfig) -> list[Way]:
        """Returns the ways, those first that the library has for this config."""
        return sorted(self.ways, key=lambda way: not way.when(config))


@dataclass(frozen=True)
class Table:
    """One library's names.

    Args:
        source: What users call the library.
        title: Which of its layouts this is.
        signs: Names by which a file is known to be of this kind: each of these patterns fits one of its tensors.
        rows: The mapping.
        renames: Patterns and what they become, one after the other: spellings of the same names, to the one of the rows.
        ignored: Names that no model of ours has a weight for, with why.
        zeros: Names that may be left out where all their numbers are zero.
        digits: Digits of a block's number, with zeros in front.
        head_features: Patterns of names, and the fields of `ViTConfig` that such a tensor gives away of the features that the
            file's head sees; the last that fits wins.
        convention: Fields of `ViTConfig` that all published models of this layout share and no tensor tells.
    """

    source: str
    title: str
    signs: tuple[str, ...]
    rows: tuple[Row, ...]
    renames: tuple[tuple[str, str], ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    zeros: tuple[str, ...] = ()
    digits: int = 1
    head_features: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    convention: Mapping[str, Any] = field(default_factory=dict)

    def canonical(self, name: str) -> str:
        """Returns a file's name as the rows spell it."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def fits(self, names: Iterable[str]) -> bool:
        """Whether a file with these names is of this kind."""
        spelled = "\n".join(spelling for name in names for spelling in (name, self.canonical(name)))
        return all(re.search(f"^(?:{sign})$", spelled, re.MULTILINE) for sign in self.signs)

    @cached_property
    def rows_by_name(self) -> dict[str, list[Row]]:
        """The rows that each name of theirs can belong to, `{i}` standing in it for a block's number."""
        index: dict[str, list[Row]] = {}
        for line in self.rows:
            for spelling in line.ways:
                for name in spelling.names:
                    index.setdefault(name, []).append(line)
        return index

    def find_rows(self, name: str) -> list[tuple[Row, int | None]]:
        """Returns the rows that a canonical name can belong to, each with its block's number, None where it has none."""
        found: list[tuple[Row, int | None]] = [(line, None) for line in self.rows_by_name.get(name, ())]
        for number in re.finditer(r"\d{1,4}", name):
            pattern = f"{name[: number.start()]}{{i}}{name[number.end() :]}"
            found += [(line, int(number[0])) for line in self.rows_by_name.get(pattern, ())]
        return found

    def may_be_zero(self, name: str) -> bool:
        """Whether a canonical name may be left out where all its numbers are zero."""
        return any(re.fullmatch(pattern, name) for pattern in self.zeros)

    def why_ignored(self, name: str) -> str | None:
        """Returns why a canonical name is left out, or None where it is not."""
        return next((why for pattern, why in self.ignored if re.fullmatch(pattern, name)), None)


def row(targets: str | tuple[str, ...], *ways: Way) -> Row:
    """Returns a row.

    Args:
        targets: Our name, or names side by side.
        *ways: The library's ways to write it.
    """
    return Row((targets,) if isinstance(targets, str) else targets, ways)


def way(*names: str, layout: Layout = SAME, stacked: int | None = None, when: When = always) -> Way:
    """Returns a way; the arguments are those of `Way`.

    Args:
        *names: Their tensors, side by side.
        layout: How each is laid out.
        stacked: The axis over all blocks, where they are in one tensor.
        when: For which configs this way is the library's.
    """
    return Way(names, layout, stacked, when)


def affine(ours: str, *theirs: str, when: When = always, scale: str = "weight") -> tuple[Row, Row]:
    """Returns the two rows of a LayerNorm.

    Args:
        ours: Our layer.
        *theirs: Their layer, in one or more spellings.
        when: For which configs the first spelling is the library's; the others are for the rest.
        scale: Their word for gamma.
    """
    return tuple(
        Row(
            (f"{ours}/{own}",),
            tuple(Way((f"{name}.{word}",), when=_only(when, index)) for index, name in enumerate(theirs)),
        )
        for own, word in (("gamma", scale), ("beta", "bias"))
    )  # type: ignore[return-value]


def _only(when: When, index: int) -> When:
    return when if index == 0 else lambda config: not when(config)


def dense(ours: str, theirs: str, *, layout: Layout) -> tuple[Row, Row]:
    """Returns the two rows of a projection.

    Args:
        ours: Our layer.
        theirs: Their layer.
        layout: How their kernel is laid out.
    """
    return (
        Row((f"{ours}/kernel",), (Way((f"{theirs}.weight",), layout),)),
        Row((f"{ours}/bias",), (Way((f"{theirs}.bias",)),)),
    )


def numbered(name: str, block: int | None, *, digits: int = 2) -> str:
    """Returns the name of a block's weight, ours or another library's.

    Args:
        name: With `{i}` where the number stands.
        block: The number; None where there is none.
        digits: Its digits at least, with zeros in front.

    Example:
        >>> numbered("block_{i}/mlp/expand/bias", 7), numbered("blocks.{i}.mlp.fc1.bias", 7, digits=1)
        ('block_07/mlp/expand/bias', 'blocks.7.mlp.fc1.bias')
    """
    return name if block is None else name.replace("{i}", f"{block:0{digits}d}")
