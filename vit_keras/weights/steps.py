"""A plan and its steps: which tensors of a file make which weights, ready to be done one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from vit_keras.weights.mappings.layouts import Array, Layout, Shape
from vit_keras.weights.mappings.tables import GAP, Table

Surgeon: TypeAlias = Callable[[Array], Array]


class Step(Protocol):
    """Some tensors of a file, and the weights they make."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Our names."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The file's names."""

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Returns the weights, by our names, of the tensors in the order of `sources`."""


@dataclass(frozen=True)
class Conversion:
    """Tensors side by side become weights side by side.

    Args:
        blocks: Our names in each block; one entry where the tensors are of one block or of none.
        shapes: Shapes of our names, the same in each block.
        sources: The file's names; none for weights that are zero.
        layout: How the file lays each out.
        stacked: The tensors' axis over the blocks, or None.
        adapt: What makes the joined tensors fit, or None.
    """

    blocks: tuple[tuple[str, ...], ...]
    shapes: tuple[Shape, ...]
    sources: tuple[str, ...]
    layout: Layout
    stacked: int | None = None
    adapt: Surgeon | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """Our names."""
        return tuple(name for names in self.blocks for name in names if name != GAP)

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Returns the weights, by our names, of the tensors in the order of `sources`."""
        if not arrays:
            return {name: np.zeros(shape, "float32") for name, shape in zip(self.blocks[0], self.shapes, strict=True)}
        made: dict[str, Array] = {}
        for index, names in enumerate(self.blocks):
            parts = arrays if self.stacked is None else [np.moveaxis(array, self.stacked, 0)[index] for array in arrays]
            made |= self._of_block(names, [self.layout.to_ours(part) for part in parts])
        return made

    def _of_block(self, names: tuple[str, ...], parts: list[Array]) -> dict[str, Array]:
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        if self.adapt is not None:
            whole = self.adapt(whole)
        if len(names) == 1:
            return {names[0]: whole}
        ends = np.cumsum([shape[-1] for shape in self.shapes])[:-1]
        separate = zip(names, np.split(whole, ends, axis=-1), strict=True)
        return {name: part for name, part in separate if name != GAP}


@dataclass(frozen=True)
class Folding:
    """Positions that a file has on the tokens in front of the patches, added to those tokens for good.

    The sum is what the model computes either way: positions are always added to their tokens.

    Args:
        tokens: The steps of the tokens, in the model's order.
        positions: The step of the positions, its adaptation aside.
        count: Tokens that have positions.
        fit: What makes the patches' positions fit.
    """

    tokens: tuple[Conversion, ...]
    positions: Conversion
    count: int
    fit: Surgeon

    @property
    def targets(self) -> tuple[str, ...]:
        """Our names."""
        return tuple(name for step in (*self.tokens, self.positions) for name in step.targets)

    @property
    def sources(self) -> tuple[str, ...]:
        """The file's names."""
        return tuple(name for step in (*self.tokens, self.positions) for name in step.sources)

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Returns the weights, by our names, of the tensors in the order of `sources`."""
        (name,) = self.positions.targets
        positions = replace(self.positions, adapt=None).run(arrays[-1:])[name]
        made: dict[str, Array] = {name: self.fit(positions[:, self.count :])}
        start = 0
        for step, array in zip(self.tokens, arrays[:-1], strict=True):
            (token_name,) = step.targets
            token = step.run([array])[token_name].astype("float32")
            mine = positions[:, start : min(start + token.shape[1], self.count)].astype("float32")
            token[:, : mine.shape[1]] += mine
            made[token_name] = token
            start += token.shape[1]
        return made


@dataclass(frozen=True)
class Plan:
    """How a file becomes a model's weights.

    Args:
        path: The file.
        table: What it is of.
        steps: What makes the weights.
        notes: What is changed, kept or left out, a line each.
        zeros: Tensors left out that must be zero.
    """

    path: Path
    table: Table
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    zeros: tuple[str, ...]

    def describe(self, *, each: bool = False) -> str:
        """Returns the plan as text.

        Args:
            each: Adds a line a weight.
        """
        tensors = {name for step in self.steps for name in step.sources}
        weights = [name for step in self.steps for name in step.targets]
        lines = [
            f"{self.path}: {self.table.source} ({self.table.title})",
            f"{len(tensors)} tensors become {len(weights)} weights",
            *self.notes,
        ]
        if each:
            lines += [f"{', '.join(step.targets)} <- {', '.join(step.sources) or 'zeros'}" for step in self.steps]
        return "\n".join(lines)
