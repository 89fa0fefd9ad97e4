"""Plans a load from names, shapes and dtypes alone: each weight is made once, each tensor is used or left out."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import WeightMismatchError
from vit_keras.validation import list_words
from vit_keras.weights.adapt.inferred_sizes import count_blocks, infer_sizes
from vit_keras.weights.adapt.options import AdaptOptions
from vit_keras.weights.adapt.patches import adapt_patches
from vit_keras.weights.adapt.positions import adapt_positions
from vit_keras.weights.adapt.relative_positions import adapt_relative_positions
from vit_keras.weights.formats.tensor_file import TensorFile, TensorInfo
from vit_keras.weights.head import differing_features, head_features
from vit_keras.weights.mappings.layouts import Shape
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.mappings.tables import GAP, Row, Table, Way, numbered, row, way
from vit_keras.weights.steps import Conversion, MisfitError, Plan, Step
from vit_keras.weights.store import count_each

_SHOWN = 10  # misfits in an error
_FLOATS = {"float64", "float32", "float16", "bfloat16"}
# Layers that a file may have and a model lack.
_OPTIONAL_LAYERS = {"head", "head_distillation", "pre_logits", "pooling", "final_norm"}
_KERNEL, _POSITIONS = "patch_encoder/projection/kernel", "patch_encoder/position_embedding"
_PREFIX_TOKENS = ("patch_encoder/class_token", "patch_encoder/distillation_token", "patch_encoder/registers")


def plan(
    weights: Mapping[str, Shape],
    config: ViTConfig,
    file: TensorFile,
    *,
    source: str = "auto",
    prefix: str | None = None,
    adapt: AdaptOptions | None = None,
    stated: Mapping[str, Any] | None = None,
    own_head: Collection[str] = (),
) -> Plan:
    """Returns how a file becomes a model's weights; no tensor is read.

    Args:
        weights: Shape of each of the model's weights, by name.
        config: The model's config.
        file: What `open_tensors` returned.
        source: The library whose names the file has, or "auto" to detect it.
        prefix: What stands in front of the names of the model's tensors; None to find it.
        adapt: What may be changed of the file to fit the model.
        stated: Known fields of `ViTConfig` of the file's model, such as from a config.json beside it.
        own_head: Names of weights in layers of the user's own, which only vit_keras' files have.

    Raises:
        InvalidArgumentError: There is no such source or prefix, or the file holds several models.
        WeightMismatchError: The file does not fit the model; the message has all reasons.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from vit_keras.weights import open_tensors, write_tensors
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors({"block_00/attention/qkv/kernel": np.zeros((32, 96))}, Path(folder) / "model.safetensors")
        ...     with open_tensors(folder) as file:
        ...         plan({"block_00/attention/qkv/kernel": (32, 96)}, config, file).notes[-1]
        'tensors of float64 are rounded'
    """
    table = find_table(file.tensors, source, prefix=prefix, path=file.path)
    if table.source == "vit_keras":
        known = {target for item in table.rows for target in item.targets}
        table = replace(table, rows=(*table.rows, *(row(name, way(name)) for name in own_head if name not in known)))
    return _Planner(weights, config, file, table, adapt or AdaptOptions(), stated or {}, frozenset(own_head)).plan()


@dataclass
class _Planner:
    weights: Mapping[str, Shape]
    config: ViTConfig
    file: TensorFile
    table: Table
    adapt: AdaptOptions
    stated: Mapping[str, Any]
    own_head: frozenset[str]
    loads_head: bool = False
    names: dict[str, str] = field(default_factory=dict)  # canonical name -> the file's name
    tensors: dict[str, TensorInfo] = field(default_factory=dict)  # by canonical name
    steps: dict[str, Step] = field(default_factory=dict)  # by the first weight
    covered: set[str] = field(default_factory=set)  # weights that a step makes, or that keep their values
    used: set[str] = field(default_factory=set)  # canonical names of tensors
    expected: dict[str, str] = field(default_factory=dict)  # weight without a tensor -> the tensor's expected name
    notes: list[str] = field(default_factory=list)
    zeros: list[str] = field(default_factory=list)  # tensors that are left out and must be all zero
    extra: list[str] = field(default_factory=list)  # tensors that the model has no weights for
    problems: list[str] = field(default_factory=list)

    def plan(self) -> Plan:
        for name, canonical in self.table.canonical_names(self.file.tensors).items():
            if canonical in self.names:
                self.problems.append(f"{name} and {self.names[canonical]} are the same tensor")
            self.names[canonical], self.tensors[canonical] = name, self.file.tensors[name]
        self._note_prefix()
        self._check_depth()
        for item in self.table.rows:
            for block in range(self.config.num_layers) if item.is_per_block else [None]:
                self._place(item, block)
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
        self._check_certain()
        self._raise_problems(missing, self._check_dtypes())
        notes = tuple(dict.fromkeys(self.notes))
        return Plan(self.file.path, self.table, tuple(self.steps.values()), notes, tuple(self.zeros))

    def _note_prefix(self) -> None:
        prefix, others = self.table.prefix, self.table.other_prefixes
        if prefix or others:
            self.notes.append(f"the names begin with {prefix!r}")
        if others:
            self.notes.append(
                f"further models are in the file: prefix= one of {list_words(map(repr, others))} loads another"
            )
        outside = self.file.tensors.keys() - self.names.values()
        if outside:
            self.notes.append(f"left out (not of the model at {prefix!r}): {len(outside)}, such as {min(outside)}")

    # One step per row

    def _place(self, item: Row, block: int | None) -> None:
        targets = tuple(numbered(target, block) for target in item.targets)
        ours = [target for target in targets if target != GAP]
        if not all(name in self.weights for name in ours) or any(name in self.covered for name in ours):
            return
        is_own = self.table.source != "vit_keras" and not self.own_head.isdisjoint(ours)
        if is_own or (self.adapt.head == "new" and _is_head(ours[0])):
            return
        found = self._find_way(item, block)
        if found is None:
            names = self._number(item.ways_for(self.config)[0].names, block)
            for name in ours:
                self.expected.setdefault(name, ", ".join(names))
            return
        used_way, sources = found
        blocks: tuple[tuple[str, ...], ...] = (targets,)
        if used_way.stacked is not None:
            blocks = tuple(tuple(numbered(name, i) for name in item.targets) for i in range(self.config.num_layers))
        # A bias may be zeros only together with its kernel.
        if sources or ours[0].replace("/bias", "/kernel") in self.covered:
            self._convert(blocks, used_way, sources, axis=item.axis)

    def _find_way(self, item: Row, block: int | None) -> tuple[Way, tuple[str, ...]] | None:
        found = [
            (candidate, sources)
            for candidate in item.ways_for(self.config)
            for sources in [self._number(candidate.names, block)]
            if all(name in self.names for name in sources)
        ]
        # One name may have several layouts, of different ranks.
        return next((each for each in found if self._have_ranks(*each)), next(iter(found), None))

    def _have_ranks(self, candidate: Way, sources: tuple[str, ...]) -> bool:
        ranks = {len(self.tensors[name].shape) for name in sources}
        return candidate.stacked is not None or candidate.layout.rank is None or ranks <= {candidate.layout.rank}

    def _number(self, names: tuple[str, ...], block: int | None) -> tuple[str, ...]:
        return tuple(numbered(name, block, digits=self.table.digits) for name in names)

    def _convert(
        self, blocks: tuple[tuple[str, ...], ...], used_way: Way, sources: tuple[str, ...], *, axis: int
    ) -> None:
        ours = [name for names in blocks for name in names if name != GAP]
        shapes = tuple(self.weights[name if name != GAP else blocks[0][0]] for name in blocks[0])
        files = tuple(self.names[name] for name in sources)
        step = Conversion(blocks, shapes, files, used_way.layout, used_way.stacked, axis=axis)
        self.covered.update(ours)
        self.used.update(sources)
        joined = self._joined_shape(used_way, sources, len(blocks))
        wanted = shapes[0] if len(shapes) == 1 else _concatenate(shapes, axis)
        if _is_head(ours[0]):
            if self.adapt.head == "fit" and self._keeps_own_head(ours[0], joined):
                return
            self.loads_head = True
            if self._differing_features():
                return  # _check_head refuses it
        is_positions = ours[0] == _POSITIONS and joined is not None and len(joined) == 3 and joined[::2] == wanted[::2]
        is_kernel = ours[0] == _KERNEL and joined is not None and len(joined) == 2 and joined[1] == wanted[1]
        is_table = ours[0].endswith("relative_position/table") and joined is not None and joined[1:] == wanted[1:]
        if joined is not None and (is_positions or is_kernel or is_table):
            self._adapt(step, joined)
        elif joined == wanted or not sources:
            self.steps[ours[0]] = step
            self.loads_head = self.loads_head or ours[0] in self.own_head
        else:
            found = ", ".join(str(self.tensors[name].shape) for name in sources)
            self.problems.append(f"{', '.join(blocks[0])} is {wanted}, and {', '.join(files)} of {found} does not fit")

    def _joined_shape(self, used_way: Way, sources: tuple[str, ...], num_blocks: int) -> Shape | None:
        """Returns our shape of one block of the concatenated tensors; None where they do not match."""
        ours: list[Shape] = []
        for name in sources:
            shape = self.tensors[name].shape
            axis = used_way.stacked
            if axis is not None:
                if len(shape) <= axis or shape[axis] < num_blocks:
                    return None
                shape = (*shape[:axis], *shape[axis + 1 :])
            converted = used_way.layout.our_shape(shape)
            heads_axis = used_way.layout.heads_axis
            if converted is None or (heads_axis is not None and shape[heads_axis] != self.config.num_heads):
                return None
            ours.append(converted)
        if not ours or any(not shape or shape[:-1] != ours[0][:-1] for shape in ours):
            return ours[0] if len(ours) == 1 else None
        return (*ours[0][:-1], sum(shape[-1] for shape in ours))

    def _adapt(self, step: Conversion, joined: Shape) -> None:
        try:
            if step.targets[0] == _KERNEL:
                shape, stated_size = self.file.tensors[step.sources[0]].shape, self.stated.get("patch_size")
                adapted: Step
                adapted, notes = adapt_patches(step, shape, self.config, self.adapt, stated_size)
            elif step.targets[0] != _POSITIONS:
                adapted, notes = adapt_relative_positions(step, joined[0], self.config, self._find_grid_size())
            else:
                grid_size = self._find_grid_size()
                if self.adapt.grid_size is None and grid_size is not None:
                    rest = joined[1] - grid_size[0] * grid_size[1]
                    if not 0 <= rest <= self.config.num_prefix_tokens:  # RADIO's are of a larger image than it states
                        grid_size = None
                tokens = [self.steps[name] for name in _PREFIX_TOKENS if name in self.steps]
                conversions = [token for token in tokens if isinstance(token, Conversion)]
                adapted, notes = adapt_positions(step, joined[1], self.config, grid_size, conversions)
        except MisfitError as error:
            self.problems.append(str(error))
            return
        for name in adapted.targets:  # steps of prefix tokens may be part of that of the positions
            self.steps.pop(name, None)
        self.steps[step.targets[0]] = adapted
        self.notes += notes

    def _find_grid_size(self) -> tuple[int, int] | None:
        """Returns rows and columns of the file's positions; None where nothing states them."""
        if self.adapt.grid_size is not None or not {"image_size", "patch_size"} <= self.stated.keys():
            return self.adapt.grid_size
        height, width = self.stated["image_size"]
        return height // self.stated["patch_size"], width // self.stated["patch_size"]

    # Heads

    def _keeps_own_head(self, name: str, joined: Shape | None) -> bool:
        """Whether the model keeps its own head, because the file's has another number of classes."""
        layer = name.split("/")[0]
        kernel = self.weights[f"{layer}/kernel"]
        if f"{layer}/kernel" != name:
            return f"{layer}/kernel" not in self.steps
        if joined is None or len(joined) != 2 or joined[1] == kernel[1]:
            return False
        self.notes.append(
            f"{layer}: the file's has {joined[1]} classes and {joined[0]} features, the model's {kernel[1]} and {kernel[0]}; the "
            "model's own is kept"
        )
        return True

    def _keep_absent_heads(self) -> None:
        if self.adapt.head == "load":
            return
        for layer in ("head", "head_distillation"):
            kept = [name for name in self.weights if name.startswith(f"{layer}/") and name not in self.covered]
            if f"{layer}/kernel" in kept:
                why = 'because of head="new"' if self.adapt.head == "new" else "the file has none"
                self.notes.append(f"{layer}: the model's own is kept, {why}")
                self.covered.update(kept)
        own = [name for name in self.weights if name in self.own_head and name not in self.covered]
        if own and not any(name in self.covered for name in self.own_head):
            self.notes.append(f"the model's own {', '.join(own)} are kept, the file has none")
            self.covered.update(own)

    def _differing_features(self) -> dict[str, Any]:
        """Returns the fields of the file's head input that the model does not have."""
        return differing_features({**head_features(self.table, self.tensors), **self.stated}, self.config)

    def _check_head(self) -> None:
        differing = self._differing_features()
        if not differing:
            return
        theirs = ", ".join(f"{name}={value!r}" for name, value in differing.items())
        mine = ", ".join(f"{name}={getattr(self.config, name)!r}" for name in differing)
        if self.loads_head:
            self.problems.append(
                f"the file's head was trained on features of {theirs}, and the model has {mine}: build the model with {theirs}, or "
                'give it a new head, with AdaptOptions(head="new") or another num_classes'
            )
        elif {"pooling", "final_norm", "map_includes_prefix"} & differing.keys():
            self.notes.append(f"the file's model has {theirs}, this one {mine}: its features differ from the file's")

    # Everything else

    def _check_certain(self) -> None:
        for pattern, fields in self.table.certain:
            differing = [name for name, value in fields.items() if getattr(self.config, name) != value]
            if differing and any(re.fullmatch(pattern, name) for name in self.names):
                theirs = ", ".join(f"{name}={fields[name]!r}" for name in differing)
                mine = ", ".join(repr(getattr(self.config, name)) for name in differing)
                self.problems.append(f"the file is of a model with {theirs}, and this one has {mine}")

    def _check_depth(self) -> None:
        depth, wanted = count_blocks(self.table, self.tensors) or 0, self.config.num_layers
        if depth > wanted and self.adapt.fewer_layers:
            self.notes.append(f"the first {wanted} of {depth} blocks are loaded")
        elif depth > wanted:
            self.problems.append(
                f"the file has {depth} blocks and the model {wanted}; fewer_layers=True loads the first ones"
            )

    def _leave_out(self, name: str) -> None:
        rows = self.table.find_rows(name)
        layers = {target.split("/")[0] for item, _ in rows for target in item.targets}
        blocks = [block for _, block in rows if block is not None]
        why = next((why for pattern, why in self.table.ignored if re.fullmatch(pattern, name)), None)
        refused = next((what for pattern, what in self.table.refused if re.fullmatch(pattern, name)), None)
        if why is not None:
            self.notes.append(f"left out ({why}): {re.sub(r'(?<=[._])[0-9]+(?=[./])', '*', self.names[name])}")
        elif refused is not None:
            if not any(problem.startswith(refused) for problem in self.problems):
                self.problems.append(f"{refused}, which vit_keras does not build ({self.names[name]})")
        elif layers and layers <= _OPTIONAL_LAYERS:
            self.notes.append(f"left out: the file's {', '.join(sorted(layers))}")
        elif (blocks and min(blocks) >= self.config.num_layers) or 0 in self.tensors[name].shape:
            pass  # reported by _check_depth; or empty, such as no registers
        elif any(re.fullmatch(pattern, name) for pattern in self.table.zeros):
            self.zeros.append(self.names[name])
            self.notes.append("left out: biases that are all zero")
        else:
            self.extra.append(self.names[name])

    def _check_dtypes(self) -> list[str]:
        read = [name for step in self.steps.values() for name in step.sources]
        dtypes = {name: self.file.tensors[name].dtype for name in dict.fromkeys([*read, *self.zeros])}
        if "float64" in dtypes.values():
            self.notes.append("tensors of float64 are rounded")
        return [f"{name} of {dtype}" for name, dtype in dtypes.items() if dtype not in _FLOATS]

    def _raise_problems(self, missing: list[str], wrong_dtypes: list[str]) -> None:
        reasons = count_each(
            {"missing": missing, "not in the model": self.extra, "of an unsupported dtype": wrong_dtypes}
        )
        reasons += self.problems[:_SHOWN]
        if len(self.problems) > _SHOWN:
            reasons.append(f"and {len(self.problems) - _SHOWN} more of another shape or layout")
        if not reasons:
            return
        config, sizes, hint = self.config, infer_sizes(self.table, self.tensors, self.config), ""
        if sizes is not None:
            hint = (
                f" The file looks like {sizes}; the model has {config.num_layers} blocks of width {config.hidden_dim}, patches of "
                f"{config.patch_size} px."
            )
        raise WeightMismatchError(
            f"{self.file.path} ({self.table.title}) does not fit the model: {'; '.join(reasons)}.{hint}"
        )


def _concatenate(shapes: tuple[Shape, ...], axis: int) -> Shape:
    whole = list(shapes[0])
    whole[axis] = sum(shape[axis] for shape in shapes)
    return tuple(whole)


def _is_head(name: str) -> bool:
    return name.startswith(("head/", "head_distillation/"))
