"""Mapping tables: which of our weights correspond to which tensors of another library, read in both directions."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from vit_keras.config import ViTConfig
from vit_keras.weights.mappings.layouts import LINEAR, SAME, Layout

When: TypeAlias = Callable[[ViTConfig], bool]

NO_ROTARY: tuple[tuple[str, Mapping[str, Any]], ...] = ((".*", {"rotary_embedding": "none"}),)
"""`Table.certain` of a library without rotary embeddings."""

GAP = ""  # a target for numbers that we have no weight for, as wide as the row's other targets: biases of keys


def always(_: ViTConfig) -> bool:
    """The condition of a way that is always written."""
    return True


def never(_: ViTConfig) -> bool:
    """The condition of a way that is only read."""
    return False


def unless(when: When) -> When:
    """Returns the opposite condition."""
    return lambda config: not when(config)


@dataclass(frozen=True)
class Way:
    """One way in which a library stores the weights of a row: all ways are read, those whose condition holds are written."""

    # Tensors, concatenated along our last axis; `{i}` is a block's number; empty for weights that are all zero.
    names: tuple[str, ...]
    layout: Layout = SAME
    stacked: int | None = None  # the axis over all blocks, where one tensor holds all
    when: When = always

    @property
    def is_per_block(self) -> bool:
        """Whether each block has its own tensors."""
        return any("{i}" in name for name in self.names)


@dataclass(frozen=True)
class Row:
    """Weights of ours, concatenated along an axis, and the ways in which the library stores them."""

    targets: tuple[str, ...]  # names of our weights; `{i}` is a block's number
    ways: tuple[Way, ...]
    axis: int = -1

    @property
    def is_per_block(self) -> bool:
        """Whether each block has these weights."""
        return any("{i}" in target for target in self.targets)

    def ways_for(self, config: ViTConfig) -> list[Way]:
        """Returns all ways, those that the library uses for this config first."""
        return sorted(self.ways, key=lambda way: not way.when(config))


@dataclass(frozen=True, eq=False)
class Table:
    """A library's tensor names, and ours; names are regular expressions, except in the rows."""

    source: str  # the library's name in arguments
    title: str  # the library and model, for messages
    signs: tuple[str, ...]  # each must match one of a file's names
    rows: tuple[Row, ...]
    renames: tuple[tuple[str, str], ...] = ()  # applied in order: other spellings, to the spelling of the rows
    ignored: tuple[tuple[str, str], ...] = ()  # names that are not loaded, each with the reason
    refused: tuple[tuple[str, str], ...] = ()  # names of layers that vit_keras does not build, each with what they do
    zeros: tuple[str, ...] = ()  # names that may be left out where the tensor is all zero
    digits: int = 1  # minimum digits of a block's number
    # Fields of `ViTConfig` about the head's input that a name reveals; the last match wins.
    head_features: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    # Fields of `ViTConfig` that all published models of this kind share and no tensor reveals.
    convention: Mapping[str, Any] = field(default_factory=dict)
    # Fields of `ViTConfig` that every model with such a name has; a model with others is refused.
    certain: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    # Fields of `ViTConfig`, besides those of every library, that change the outputs and that neither names nor shapes reveal.
    untold: tuple[str, ...] = ()
    prefixes: str = ".*"  # what a file's prefix must match
    # Of one file, as `find_table` found them; without the segments that `unwrap` removes.
    prefix: str = ""  # what this file puts in front of the names
    other_prefixes: tuple[str, ...] = ()  # of further models in the same file

    def canonical(self, name: str) -> str:
        """Returns a tensor name, without the file's prefix, in the spelling of the rows."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def canonical_names(self, names: Iterable[str]) -> dict[str, str]:
        """Returns the canonical name of each tensor of the model, by the file's name; other parts of the file are left out.

        A head often stands beside the model's prefix: a tensor that is not below the prefix belongs to the model if the rows have
        it, and the prefix has none of that name.
        """
        others = tuple(filter(None, self.other_prefixes))
        found, beside = dict[str, str](), dict[str, str]()
        for name in names:
            plain = unwrap(name)
            if plain.startswith(self.prefix) and not plain.startswith(others):
                found[name] = self.canonical(plain.removeprefix(self.prefix))
            elif not plain.startswith(others):
                beside[name] = plain
        parents = parent_prefixes(self.prefix)
        if not set(parents) & set(self.other_prefixes):
            taken = set(found.values())
            for name, plain in beside.items():
                parent = next(parent for parent in parents if plain.startswith(parent))
                spelled = self.canonical(plain.removeprefix(parent))
                if spelled not in taken and self.find_rows(spelled):
                    found[name] = spelled
        return found

    def fits(self, names: Iterable[str]) -> bool:
        """Whether the table describes a file with these tensor names, without a prefix."""
        spellings = "\n".join(spelling for name in names for spelling in (name, self.canonical(name)))
        return all(re.search(f"^(?:{sign})$", spellings, re.MULTILINE) for sign in self.signs)

    @cached_property
    def rows_by_name(self) -> dict[str, list[Row]]:
        """The rows of each of their names, with `{i}` for a block's number."""
        index: dict[str, list[Row]] = {}
        for row in self.rows:
            for way in row.ways:
                for name in way.names:
                    index.setdefault(name, []).append(row)
        return index

    def ways_to(self, target: str) -> list[Way]:
        """Returns the ways in which one weight is stored alone."""
        return [way for row in self.rows if row.targets == (target,) for way in row.ways]

    def find_rows(self, name: str) -> list[tuple[Row, int | None]]:
        """Returns the rows of a canonical name, each with the block's number, or None outside of blocks."""
        found: list[tuple[Row, int | None]] = [(row, None) for row in self.rows_by_name.get(name, ())]
        for number in re.finditer(r"\d{1,4}", name):
            pattern = f"{name[: number.start()]}{{i}}{name[number.end() :]}"
            found += [(row, int(number[0])) for row in self.rows_by_name.get(pattern, ())]
        return found


# Segments that torch's DataParallel, compile, FSDP and activation checkpointing put into names, anywhere.
_WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def unwrap(name: str) -> str:
    """Returns a tensor name without the segments of torch's wrappers.

    Example:
        >>> unwrap("module.model._orig_mod.cls_token")
        'model.cls_token'
    """
    return _WRAPPERS.sub("", name)


def parent_prefixes(name: str) -> list[str]:
    """Returns the prefixes of a name that end in "." or "/", the longest first, the empty one last.

    Example:
        >>> parent_prefixes("teacher.backbone.cls_token")
        ['teacher.backbone.', 'teacher.', '']
    """
    ends = [match.end() for match in re.finditer(r"[./]", name) if match.end() < len(name)]
    return [name[:end] for end in reversed([0, *ends])]


def row(targets: str | tuple[str, ...], *ways: Way, axis: int = -1) -> Row:
    """Returns a row of one or several targets."""
    return Row((targets,) if isinstance(targets, str) else targets, ways, axis)


def way(*names: str, layout: Layout = SAME, stacked: int | None = None, when: When = always) -> Way:
    """Returns a way of one or several names."""
    return Way(names, layout, stacked, when)


def affine(ours: str, *theirs: str, when: When = always) -> tuple[Row, ...]:
    """Returns the rows of a LayerNorm."""
    conditions = (when, unless(when))
    return tuple(
        Row(
            (f"{ours}/{own}",),
            tuple(way(f"{name}.{word}", when=condition) for name, condition in zip(theirs, conditions, strict=False)),
        )
        for own, word in (("gamma", "weight"), ("beta", "bias"))
    )


def dense(
    ours: str, *theirs: tuple[str, ...] | str, layout: Layout = LINEAR, whens: tuple[When, ...] = (always,)
) -> tuple[Row, ...]:
    """Returns the rows of a projection: its kernel and its bias."""
    layers = [(names,) if isinstance(names, str) else names for names in theirs]
    return tuple(
        Row(
            (f"{ours}/{own}",),
            tuple(
                way(*(f"{name}.{word}" for name in names), layout=laid_out, when=when)
                for names, when in zip(layers, whens, strict=True)
            ),
        )
        for own, word, laid_out in (("kernel", "weight", layout), ("bias", "bias", SAME))
    )


def numbered(name: str, block: int | None, *, digits: int = 2) -> str:
    """Returns the name of a block's weight, ours or another library's."""
    return name if block is None else name.replace("{i}", f"{block:0{digits}d}")
