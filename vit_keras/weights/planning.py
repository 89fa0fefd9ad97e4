"""The plan of a load, made of names, shapes and number formats alone: every weight once, every tensor used or left out."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import WeightMismatchError
from vit_keras.weights.adapt.inferred_sizes import count_blocks, likeness
from vit_keras.weights.adapt.options import (
    AdaptOptions,
    PatchKernel,
    Positions,
    find_patches,
    find_positions,
    fit_patches,
    fit_positions,
)
from vit_keras.weights.formats.tensor_file import TensorFile, TensorInfo
from vit_keras.weights.head_features import differing_features, head_features
from vit_keras.weights.mappings.layouts import Shape
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.mappings.tables import GAP, Row, Table, Way, numbered, row, way
from vit_keras.weights.steps import Conversion, Folding, Plan, Step

_SHOWN = 10  # tensors of each kind in an error
_FLOATS = {"float64", "float32", "float16", "bfloat16"}
_LAYERS_LEFT_OUT = ("head", "head_distillation", "pre_logits", "pooling")
"""Layers behind the blocks: a model may lack what a file has of these."""

_KERNEL, _POSITIONS = "patch_encoder/projection/kernel", "patch_encoder/position_embedding"
_TOKENS = ("patch_encoder/class_token", "patch_encoder/distillation_token", "patch_encoder/registers")


def plan(
    weights: Mapping[str, Shape],
    config: ViTConfig,
    file: TensorFile,
    *,
    source: str = "auto",
    adapt: AdaptOptions | None = None,
    stated: Mapping[str, Any] | None = None,
    own_head: Collection[str] = (),
) -> Plan:
    """Returns how a file becomes a model's weights; no number is read.

    Args:
        weights: Shape of each of the model's weights, by name.
        config: The model's.
        file: The open file.
        source: The library whose names it has, or "auto" to go by them.
        adapt: What may be changed to make it fit; by default what `AdaptOptions()` says.
        stated: Fields of `ViTConfig` that are known of the file's model, such as from a config.json beside it.
        own_head: Names of weights in layers of the user's own, which only our own files have.

    Raises:
        InvalidArgumentError: There is no such source.
        WeightMismatchError: The file does not fit; every reason in one report.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from vit_keras.weights.formats.opening import open_tensors
        >>> from vit_keras.weights.store import write_tensors
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> shapes = {"patch_encoder/class_token": (1, 1, 32), "block_00/attention/qkv/kernel": (32, 96)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors({name: np.zeros(shape) for name, shape in shapes.items()}, Path(folder) / "model.safetensors")
        ...     with open_tensors(folder) as file:
        ...         print(plan(shapes, config, file).describe().split(": ")[1])
        vit_keras (a preset directory of vit_keras)
        2 tensors become 2 weights
        tensors of float64 are narrowed
    """
    table = find_table(file.tensors, source, path=file.path)
    absent = frozenset(own_head)
    if table.source == "vit_keras":
        known = {target for line in table.rows for target in line.targets}
        rows = (row(name, way(name)) for name in own_head if name not in known)
        table, absent = replace(table, rows=(*table.rows, *rows)), frozenset()
    return _Planner(
        weights, config, file, table, adapt or AdaptOptions(), stated or {}, frozenset(own_head), absent
    ).plan()


@dataclass
class _Planner:
    weights: Mapping[str, Shape]
    config: ViTConfig
    file: TensorFile
    table: Table
    adapt: AdaptOptions
    stated: Mapping[str, Any]
    own_head: frozenset[str] = frozenset()
    never_in_file: frozenset[str] = frozenset()
    loads_head: bool = False
    names: dict[str, str] = field(default_factory=dict)  # the table's spelling -> the file's
    steps: dict[str, Step] = field(default_factory=dict)  # by the first weight
    covered: set[str] = field(default_factory=set)  # weights that are made, or stay as they are
    used: set[str] = field(default_factory=set)  # tensors, by the table's spelling
    notes: list[str] = field(default_factory=list)
    zeros: list[str] = field(default_factory=list)
    expected: dict[str, str] = field(default_factory=dict)  # weights without tensors -> what the file would call them
    extra: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)  # misfits of shape, and what else is wrong
    dtypes: list[str] = field(default_factory=list)

    def plan(self) -> Plan:
        for name in self.file.tensors:
            canonical = self.table.canonical(name)
            if canonical in self.names:
                self.other.append(f"{name} and {self.names[canonical]} stand for the same tensor")
            self.names[canonical] = name
        self._check_depth()
        for line in self.table.rows:
            for block in range(self.config.num_layers) if line.a_block else [None]:
                self._place(line, block)
        self._keep_absent_heads()
        missing = [
            f"{name} ({self.expected[name]})" if self.expected.get(name, name) != name else name
            for name in self.weights
            if name not in self.covered
        ]
        for name in self.names:
            if name not in self.used:
                self._leave_out(name)
        self._check_head()
        self._check_dtypes()
        self._raise(missing)
        notes = tuple(dict.fromkeys(self.notes))
        return Plan(self.file.path, self.table, tuple(self.steps.values()), notes, tuple(self.zeros))

    # Each row

    def _place(self, line: Row, block: int | None) -> None:
        targets = tuple(numbered(target, block) for target in line.targets)
        ours = [target for target in targets if target != GAP]
        if not all(name in self.weights for name in ours) or any(name in self.covered for name in ours):
            return
        if not self.never_in_file.isdisjoint(ours):
            return
        if self.adapt.head == "new" and _is_head(ours[0]):
            return
        found = self._find(line, block)
        if found is None:
            for name in ours:
                first = line.ways_for(self.config)[0].names
                self.expected.setdefault(name, ", ".join(self._theirs(first, block)))
            return
        spelling, sources = found
        if spelling.stacked is not None:
            blocks = tuple(
                tuple(numbered(target, index) for target in line.targets) for index in range(self.config.num_layers)
            )
        else:
            blocks = (targets,)
        if sources or ours[0].replace("/bias", "/kernel") in self.covered:  # zeros stand only beside a kernel
            self._convert(blocks, spelling, sources)

    def _find(self, line: Row, block: int | None) -> tuple[Way, tuple[str, ...]] | None:
        """Returns the first of a row's ways whose tensors are all there, with their names."""
        for spelling in line.ways_for(self.config):
            sources = self._theirs(spelling.names, block)
            if all(name in self.names for name in sources):
                return spelling, sources
        return None

    def _theirs(self, names: tuple[str, ...], block: int | None) -> tuple[str, ...]:
        return tuple(numbered(name, block, digits=self.table.digits) for name in names)

    def _convert(self, blocks: tuple[tuple[str, ...], ...], spelling: Way, sources: tuple[str, ...]) -> None:
        ours = [name for names in blocks for name in names if name != GAP]
        shapes = tuple(self.weights[name if name != GAP else blocks[0][0]] for name in blocks[0])
        step = Conversion(
            blocks, shapes, tuple(self.names[name] for name in sources), spelling.layout, spelling.stacked
        )
        self.covered.update(ours)
        self.used.update(sources)
        joined = self._joined(spelling, sources, len(blocks))
        wanted = (*shapes[0][:-1], sum(shape[-1] for shape in shapes)) if len(shapes) > 1 else shapes[0]
        if _is_head(ours[0]):
            if self.adapt.head == "fit" and self._renews_head(ours[0], joined):
                return
            self.loads_head = True
            if self._differing():
                return  # _check_head refuses it
        if ours[0] == _POSITIONS and joined is not None and len(joined) == 3 and joined[::2] == wanted[::2]:
            self._fit_positions(step, joined)
        elif ours[0] == _KERNEL and joined is not None and len(joined) == 2 and joined[1] == wanted[1]:
            self._fit_patches(step)
        elif joined == wanted or not sources:
            self.steps[ours[0]] = step
            self.loads_head = self.loads_head or ours[0] in self.own_head
        else:
            theirs = ", ".join(self.names[name] for name in sources)
            shape = [self._info(name).shape for name in sources]
            self.other.append(
                f"{', '.join(blocks[0])} is {wanted}, and {theirs} of {', '.join(map(str, shape))} does not fit"
            )

    def _joined(self, spelling: Way, sources: tuple[str, ...], blocks: int) -> Shape | None:
        """Returns the shape in our layout of a way's tensors side by side, of one block; None where they do not go together."""
        ours: list[Shape] = []
        for name in sources:
            shape = self._info(name).shape
            if spelling.stacked is not None:
                if len(shape) <= spelling.stacked or shape[spelling.stacked] < blocks:
                    return None
                shape = (*shape[: spelling.stacked], *shape[spelling.stacked + 1 :])
            mine = spelling.layout.our_shape(shape)
            axis = spelling.layout.heads_axis
            if mine is None or (axis is not None and shape[axis] != self.config.num_heads):
                return None
            ours.append(mine)
        if not ours or any(not shape or shape[:-1] != ours[0][:-1] for shape in ours):
            return ours[0] if len(ours) == 1 else None
        return (*ours[0][:-1], sum(shape[-1] for shape in ours))

    # AdaptOptions

    def _fit_positions(self, step: Conversion, joined: Shape) -> None:
        config = self.config
        grid_size = self.adapt.grid_size or self._stated_grid()
        found = find_positions(joined[1], config, grid_size)
        if found is None or found.prefix > config.num_prefix_tokens:
            self.other.append(
                f"{step.sources[0]} has {joined[1]} positions, and the model {config.num_patches} patches behind "
                f"{config.num_prefix_tokens} tokens: they are no square of patches behind so many tokens. Where they are another "
                "grid, give grid_size; where tokens are missing, see class_token, distillation_token and num_registers"
            )
            return
        grids = ["x".join(map(str, grid)) for grid in (found.grid, config.grid_size)]
        if found.grid != config.grid_size:
            self.notes.append(
                f'positions resized from {" to ".join(grids)} patches by the rule "{config.position_resize}"'
            )
        elif found.grid[0] != found.grid[1] and grid_size is None:
            self.notes.append(
                f"positions taken as {grids[0]} patches, as the model has; give grid_size if they are not"
            )
        if found.prefix and not config.position_on_prefix:
            self._fold_positions(step, found)
            return
        if config.position_on_prefix and found.prefix < config.num_prefix_tokens:
            none = config.num_prefix_tokens - found.prefix
            self.notes.append(f"positions of {none} in front of the patches set to zero: the file has none for them")
        self.steps[_POSITIONS] = replace(step, adapt=fit_positions(found, config))

    def _fold_positions(self, step: Conversion, found: Positions) -> None:
        tokens: list[Conversion] = []
        for name in _TOKENS:
            token = self.steps.get(name)
            if isinstance(token, Conversion) and sum(item.shapes[0][1] for item in tokens) < found.prefix:
                tokens.append(token)
                del self.steps[name]
        fit = fit_positions(Positions(0, found.grid), self.config)
        self.steps[_POSITIONS] = Folding(tuple(tokens), step, found.prefix, fit)
        self.notes.append(f"positions of {found.prefix} in front of the patches folded into those tokens")

    def _fit_patches(self, step: Conversion) -> None:
        if self.config.stem == "conv":
            self.steps[_KERNEL] = step
            return
        source = step.sources[0]
        shape = self.file.tensors[source].shape
        stated = self.adapt.patch_size or self.stated.get("patch_size")
        found = find_patches(shape, step.layout, self.config, stated)
        wanted = PatchKernel(self.config.patch_size, self.config.channels)
        if found is None:
            open_question = stated is None and len(shape) == 2
            self.other.append(
                f"{_KERNEL} is {self.weights[_KERNEL]}, and {source} of {shape} is "
                + (
                    "for other channels, another patch size, or both: give the file's patch_size, in AdaptOptions"
                    if open_question
                    else "not for square patches"
                )
            )
            return
        if found == wanted:
            self.steps[_KERNEL] = step
            return
        rule = self.adapt.channels if self.adapt.channels != "auto" else "sum" if wanted.channels == 1 else "repeat"
        if found.channels != wanted.channels:
            self.notes.append(f'channels changed from {found.channels} to {wanted.channels} by the rule "{rule}"')
        if found.side != wanted.side:
            self.notes.append(
                f'patches resized from {found.side} to {wanted.side} px by the pseudo-inverse of "{self.config.patch_resize}"'
            )
        self.steps[_KERNEL] = replace(step, adapt=fit_patches(found, self.config, rule))

    def _renews_head(self, name: str, joined: Shape | None) -> bool:
        """Keeps the model's own head where the file's has another number of classes or sees other features."""
        layer = name.split("/")[0]
        kernel = self.weights[f"{layer}/kernel"]
        if f"{layer}/kernel" != name:
            return f"{layer}/kernel" not in self.steps
        if joined is None or len(joined) != 2 or joined[1] == kernel[1]:
            return False
        self.notes.append(
            f"{layer}: the file's makes {joined[1]} classes of {joined[0]} features, the model's {kernel[1]} of {kernel[0]}: the "
            "model's own is kept"
        )
        return True

    def _keep_absent_heads(self) -> None:
        if self.adapt.head == "load":
            return
        for layer in ("head", "head_distillation"):
            mine = [name for name in self.weights if name.startswith(f"{layer}/") and name not in self.covered]
            if f"{layer}/kernel" in mine:
                why = "as was asked" if self.adapt.head == "new" else "the file has none"
                self.notes.append(f"{layer}: the model's own is kept, {why}")
                self.covered.update(mine)
        own = [name for name in self.weights if name in self.own_head and name not in self.covered]
        if own and not any(name in self.covered for name in self.own_head):
            self.notes.append(f"the own head's {', '.join(own)} stay the model's, the file has none")
            self.covered.update(own)

    # What is left

    def _check_depth(self) -> None:
        depth = count_blocks(self.table, self._tensors())
        if depth is not None and depth > self.config.num_layers:
            if self.adapt.fewer_layers:
                self.notes.append(f"the first {self.config.num_layers} of {depth} blocks are taken")
            else:
                self.other.append(
                    f"the file has {depth} blocks and the model {self.config.num_layers}; fewer_layers=True takes the first ones"
                )

    def _leave_out(self, name: str) -> None:
        rows = self.table.find_rows(name)
        layers = {target.split("/")[0] for line, _ in rows for target in line.targets}
        blocks = [block for _, block in rows if block is not None]
        why = self.table.why_ignored(name)
        if why is not None:
            self.notes.append(f"left out, {why}: {re.sub(r'(?<=[._])[0-9]+(?=[./])', '*', self.names[name])}")
        elif layers and layers <= set(_LAYERS_LEFT_OUT):
            self.notes.append(f"left out: the file's {', '.join(sorted(layers))}")
        elif blocks and min(blocks) >= self.config.num_layers:
            pass  # said by _check_depth
        elif 0 in self._info(name).shape:
            pass  # such as no registers
        elif self.table.may_be_zero(name):
            self.zeros.append(self.names[name])
            self.notes.append("left out: biases that are all zero")
        else:
            self.extra.append(self.names[name])

    def _stated_grid(self) -> tuple[int, int] | None:
        """Returns rows and columns of the file's patches, where they are known."""
        if not {"image_size", "patch_size"} <= self.stated.keys():
            return None
        height, width = self.stated["image_size"]
        return height // self.stated["patch_size"], width // self.stated["patch_size"]

    def _differing(self) -> dict[str, Any]:
        """Returns the features that the file's head was trained on and the model does not have."""
        return differing_features({**head_features(self.table, self._tensors()), **self.stated}, self.config)

    def _check_head(self) -> None:
        """Refuses a head on features that it was not trained on; a new head may have any, and that is said."""
        differing = self._differing()
        if not differing:
            return
        theirs = ", ".join(f"{name}={value!r}" for name, value in differing.items())
        mine = ", ".join(f"{name}={getattr(self.config, name)!r}" for name in differing)
        if self.loads_head:
            self.other.append(
                f"the file's head was trained on features of {theirs}, and the model has {mine}: build the model with {theirs}, or "
                'give it a new head, with AdaptOptions(head="new") or another num_classes'
            )
        elif {"pooling", "final_norm"} & differing.keys():
            self.notes.append(
                f"the file's model has {theirs}, this one {mine}: its features are others than the file's"
            )

    def _check_dtypes(self) -> None:
        read = [name for step in self.steps.values() for name in step.sources]
        kinds = {name: self.file.tensors[name].dtype for name in dict.fromkeys([*read, *self.zeros])}
        self.dtypes += [f"{name} of {dtype}" for name, dtype in kinds.items() if dtype not in _FLOATS]
        if "float64" in kinds.values():
            self.notes.append("tensors of float64 are narrowed")

    def _raise(self, missing: list[str]) -> None:
        reasons = [
            f"{len(found)} {what}: {found[:_SHOWN]}"
            for found, what in (
                (missing, "missing"),
                (self.extra, "not in the model"),
                (self.dtypes, "of a dtype that is not supported"),
            )
            if found
        ]
        reasons += self.other[:_SHOWN]
        if len(self.other) > _SHOWN:
            reasons.append(f"and {len(self.other) - _SHOWN} more of another shape or layout")
        if not reasons:
            return
        like = likeness(self.table, self._tensors(), self.config)
        config = self.config
        hint = (
            f" The file looks like {like}; the model has {config.num_layers} blocks {config.hidden_dim} wide and patches of "
            f"{config.patch_size} px."
            if like.differs(config)
            else ""
        )
        raise WeightMismatchError(
            f"{self.file.path} ({self.table.title}) does not fit the model: {'; '.join(reasons)}.{hint}"
        )

    def _tensors(self) -> dict[str, TensorInfo]:
        return {canonical: self.file.tensors[name] for canonical, name in self.names.items()}

    def _info(self, name: str) -> TensorInfo:
        return self.file.tensors[self.names[name]]


def _is_head(name: str) -> bool:
    return name.startswith(("head/", "head_distillation/"))
