"""The plan of a load: steps that convert tensors of a file to weights of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from vit_keras.weights.mappings.layouts import Array, Layout, Shape
from vit_keras.weights.mappings.tables import GAP, Table

Change: TypeAlias = Callable[[Array], Array]


class MisfitError(Exception):
    """A reason why a tensor does not fit the model."""


@dataclass(frozen=True)
class Conversion:
    """Concatenated tensors become concatenated weights."""

    blocks: tuple[tuple[str, ...], ...]  # the weights of each block; one entry for tensors of one block or of none
    shapes: tuple[Shape, ...]  # of the weights of one block
    sources: tuple[str, ...]  # the file's tensors; empty for weights that are zero
    layout: Layout  # of each tensor
    stacked: int | None = None  # the tensors' axis over the blocks
    adapt: Change | None = None  # of the concatenated tensors
    axis: int = -1  # along which the weights are concatenated

    @property
    def targets(self) -> tuple[str, ...]:
        """The weights."""
        return tuple(name for names in self.blocks for name in names if name != GAP)

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Returns the weights by name, given the tensors in the order of `sources`."""
        if not arrays:
            return {name: np.zeros(shape, "float32") for name, shape in zip(self.blocks[0], self.shapes, strict=True)}
        made: dict[str, Array] = {}
        for index, names in enumerate(self.blocks):
            parts = arrays if self.stacked is None else [np.moveaxis(array, self.stacked, 0)[index] for array in arrays]
            made |= self._convert_block(names, [self.layout.to_ours(part) for part in parts])
        return made

    def _convert_block(self, names: tuple[str, ...], parts: list[Array]) -> dict[str, Array]:
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        if self.adapt is not None:
            whole = self.adapt(whole)
        if len(names) == 1:
            return {names[0]: whole}
        ends = np.cumsum([shape[self.axis] for shape in self.shapes])[:-1]
        separate = zip(names, np.split(whole, ends, axis=self.axis), strict=True)
        return {name: part for name, part in separate if name != GAP}


@dataclass(frozen=True)
class PositionFolding:
    """Adds the file's positions of prefix tokens to the tokens themselves: the sum is all that the model computes."""

    tokens: tuple[Conversion, ...]  # in the model's order
    positions: Conversion
    count: int  # positions of prefix tokens
    fit: Change  # of the patches' positions

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the weights."""
        return tuple(name for step in (*self.tokens, self.positions) for name in step.targets)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the file's tensors."""
        return tuple(name for step in (*self.tokens, self.positions) for name in step.sources)

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Returns the weights by name, given the tensors in the order of `sources`."""
        (name,) = self.positions.targets
        positions = replace(self.positions, adapt=None).run(arrays[-1:])[name]
        made: dict[str, Array] = {name: self.fit(positions[:, self.count :])}
        start = 0
        for step, array in zip(self.tokens, arrays[:-1], strict=True):
            (token_name,) = step.targets
            token = step.run([array])[token_name].astype("float32")
            own = positions[:, start : min(start + token.shape[1], self.count)].astype("float32")
            token[:, : own.shape[1]] += own
            made[token_name] = token
            start += token.shape[1]
        return made


Step: TypeAlias = Conversion | PositionFolding


@dataclass(frozen=True)
class Plan:
    """How a file becomes a model's weights."""

    path: Path
    table: Table
    steps: tuple[Step, ...]
    notes: tuple[str, ...]  # what is changed, kept or left out, one line each
    zeros: tuple[str, ...]  # tensors that are left out and must be all zero
    assumptions: tuple[str, ...] = ()  # what changes the outputs and the checkpoint does not state, as it is assumed

    def describe(self, *, each: bool = False) -> str:
        """Returns the plan as text."""
        tensors = {name for step in self.steps for name in step.sources}
        weights = [name for step in self.steps for name in step.targets]
        lines = [
            f"{self.path}: {self.table.source} ({self.table.title})",
            f"{len(tensors)} tensors become {len(weights)} weights",
            *self.notes,
            *(
                [f"assumed, because the checkpoint does not state it: {', '.join(self.assumptions)}"]
                if self.assumptions
                else []
            ),
        ]
        if each:
            lines += [f"{', '.join(step.targets)} <- {', '.join(step.sources) or 'zeros'}" for step in self.steps]
        return "\n".join(lines)
