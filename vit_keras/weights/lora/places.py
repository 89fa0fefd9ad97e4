"""Where a tensor of another library belongs in a model: which columns of which weights."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vit_keras.config import ViTConfig
from vit_keras.errors import WeightMismatchError
from vit_keras.validation import list_words
from vit_keras.weights.mappings.layouts import Layout, Shape
from vit_keras.weights.mappings.sources import TABLES
from vit_keras.weights.mappings.tables import GAP, Row, Table, Way, numbered

_SHOWN = 5
_TARGETS = {  # of `AdaptedBlock`, by the projection and which of how many equal parts of its outputs
    ("attention/qkv", 0, 1): "qkv",
    ("attention/qkv", 0, 3): "query",
    ("attention/qkv", 1, 3): "key",
    ("attention/qkv", 2, 3): "value",
    ("attention/output", 0, 1): "output",
    ("mlp/expand", 0, 1): "expand",
    ("mlp/expand", 0, 2): "gate",
    ("mlp/expand", 1, 2): "up",
    ("mlp/contract", 0, 1): "contract",
}


@dataclass(frozen=True)
class Place:
    """Columns (along the last axis) of a weight, and the columns of another library's tensor that belong there."""

    name: str  # the other library's tensor
    layout: Layout  # in which it is stored
    theirs: slice  # columns of it in our layout
    weight: str  # our weight
    ours: slice  # columns of it

    def target(self, shape: Shape) -> tuple[str, str] | None:
        """Returns the block and the target of `AdaptedBlock`, for the weight's shape; None outside of the blocks' projections."""
        block, _, projection = self.weight.removesuffix("/kernel").partition("/")
        width = self.ours.stop - self.ours.start
        target = _TARGETS.get((projection, self.ours.start // width, shape[-1] // width))
        is_inside = re.fullmatch(r"block_\d+", block) and self.weight.endswith("/kernel")
        return (block, target) if is_inside and target is not None else None


def find_places(
    table: Table, shapes: Mapping[str, Shape], *, num_layers: int, choose: Callable[[Row], Iterable[Way]]
) -> list[Place]:
    """Returns the places of all of a library's tensors in a model.

    Args:
        table: The library's names.
        shapes: Of the model's weights, by name.
        num_layers: Number of blocks.
        choose: Returns the ways of a row that count.
    """
    found = []
    for row in table.rows:
        for block in range(num_layers) if row.is_per_block else [None]:
            seen: set[str] = set()  # a name that several ways have is of the first
            for way in choose(row):
                places = [place for place in _places(table, row, way, block, shapes) if place.name not in seen]
                seen |= {place.name for place in places}
                found += places
    return found


def _places(table: Table, row: Row, way: Way, block: int | None, shapes: Mapping[str, Shape]) -> Iterator[Place]:
    targets = [numbered(target, block) for target in row.targets]
    ours = [target for target in targets if target != GAP]
    is_below = (
        row.axis != -1 and len(targets) > 1
    )  # a low rank of one tensor is none of the weights below each other in it
    if is_below or way.stacked is not None or not way.names or not all(target in shapes for target in ours):
        return
    widths = [shapes[target if target != GAP else ours[0]][-1] for target in targets]
    starts = [sum(widths[:index]) for index in range(len(widths))]
    width = sum(widths) // len(way.names)  # of each tensor
    for index, name in enumerate(way.names):
        first = index * width
        for target, start, size in zip(targets, starts, widths, strict=True):
            low, high = max(first, start), min(first + width, start + size)
            if low < high and target != GAP:
                yield Place(
                    numbered(name, block, digits=table.digits), way.layout, slice(low - first, high - first), target,
                    slice(low - start, high - start),
                )  # fmt: skip


def locate(
    names: Iterable[str], shapes: Mapping[str, Shape], config: ViTConfig, *, path: Path
) -> dict[str, list[Place]]:
    """Returns the places of each of a library's tensors, found by their names; none for those that a library's readers ignore.

    Raises `WeightMismatchError` where no library's table knows all names.
    """
    names = list(names)
    found: dict[str, list[Place]] = {}
    nearest: tuple[list[str], Table] = names, TABLES[0]
    for prefix in _common_prefixes(names):
        for table in TABLES:
            spelled = {name: table.canonical(name.removeprefix(prefix)) for name in names}
            places: dict[str, list[Place]] = {}
            for place in find_places(
                table, shapes, num_layers=config.num_layers, choose=lambda row: row.ways_for(config)
            ):
                places.setdefault(place.name, []).append(place)
            known = {name: _rename(places[own], name) for name, own in spelled.items() if own in places}
            unknown = [name for name, own in spelled.items() if name not in known and not _ignores(table, own)]
            if not unknown and len(known) > len(found):
                found = known
            if known and len(unknown) < len(nearest[0]):
                nearest = unknown, table
    if not found:
        unknown, table = nearest
        raise WeightMismatchError(
            f"{path}: {len(unknown)} of its {len(names)} tensors have no place in the model, even as {table.title}: {list_words(unknown, limit=_SHOWN)}. "
            "Build the model that the adapter was trained on."
        )
    return {name: found.get(name, []) for name in names}


def _ignores(table: Table, name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern, _ in table.ignored)


def _rename(places: list[Place], name: str) -> list[Place]:
    return [replace(place, name=name) for place in places]


def _common_prefixes(names: list[str]) -> Iterator[str]:
    """Yields the prefixes, in whole words, that all names share, the empty one first."""
    prefix = ""
    while names and all(name.startswith(prefix) for name in names):
        yield prefix
        first, dot, _ = names[0].removeprefix(prefix).partition(".")
        if not dot:
            return
        prefix += f"{first}."
