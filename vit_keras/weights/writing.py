"""Our weights under another library's names, with the config it needs to build the model: its folder, whole or not at all."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.runtime.files import atomic_directory, write_text
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.mappings.tables import GAP, Row, Table, Way, numbered
from vit_keras.weights.mappings.timm import TIMM, TIMM_PARALLEL
from vit_keras.weights.settings.huggingface import PREPROCESSOR
from vit_keras.weights.store import write_tensors
from vit_keras.weights.writers.huggingface_config import huggingface_model
from vit_keras.weights.writers.huggingface_preprocessor import huggingface_preprocessor
from vit_keras.weights.writers.resizing_rule import ResizingRule, rule_for
from vit_keras.weights.writers.timm_config import timm_config

TARGETS = ("timm", "huggingface")
_SHOWN = 10
_POSITIONS = "patch_encoder/position_embedding"
_log = logging.getLogger(__name__)


def write(
    weights: Mapping[str, Array],
    config: ViTConfig,
    directory: str | Path,
    *,
    to: str,
    class_names: Sequence[str] | None = None,
    classifier_activation: str | None = None,
    preprocessing: ResizingRule | None = None,
) -> Path:
    """Writes a model for another library: `model.safetensors` under its names, its `config.json`, and how it prepares images.

    The library's own front door opens the directory, and computes the model's logits: `timm.create_model` with
    `"local-dir:PATH"`, transformers' `AutoModel`, `AutoImageProcessor` and `pipeline`. The directory appears whole or not at all.
    What the library has no model for is refused by name. Where transformers has no such way to resize images,
    `preprocessor_config.json` is left out and the logger `vit_keras.weights.writing` says so, as a warning. Not written is what
    has no part in the outputs: rates of dropping, `remat`, and how positions and patches are made to fit other sizes.

    Args:
        weights: The model's weights by name.
        config: The model's.
        directory: Where to; it must not exist.
        to: "timm" or "huggingface".
        class_names: What the head's outputs mean; by default their numbers.
        classifier_activation: What the model's head ends in, as `vit` takes it: the other libraries' models end in logits.
        preprocessing: What brings images to the model's size, a `vit_keras.data.Preprocessing`; None for the size, uncut.

    Raises:
        InvalidArgumentError: The library cannot express the model, or an argument is not legal.
        StorageError: The directory exists or can't be written.

    Example:
        >>> import tempfile
        >>> import keras
        >>> from vit_keras import vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> model = vit(config, num_classes=2)
        >>> arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(item.name for item in write(arrays, config, folder + "/out", to="timm").iterdir())
        ['config.json', 'model.safetensors']
    """
    target = Path(directory)
    if classifier_activation not in (None, "linear"):
        raise InvalidArgumentError(
            f"The model ends in classifier_activation={classifier_activation!r}, and {to}'s models end in logits: write the same "
            "model without it, and let that library compute probabilities."
        )
    classes = int(weights["head/kernel"].shape[-1]) if "head/kernel" in weights else None
    if class_names is not None and len(class_names) != (classes or 0):
        raise InvalidArgumentError(f"{len(class_names)} class names for a model of {classes or 0} classes.")
    files = foreign(weights, config, to=to, class_names=class_names, preprocessing=preprocessing)
    with atomic_directory(target) as unfinished:
        write_tensors(files.tensors, unfinished / "model.safetensors", metadata={"format": "pt"})
        for name, content in files.texts.items():
            write_text(unfinished / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return target


@dataclass(frozen=True)
class Foreign:
    """A model as another library has it.

    Args:
        tensors: By that library's names.
        texts: What its JSON files hold, by their names.
    """

    tensors: dict[str, Array]
    texts: dict[str, dict[str, Any]]


def foreign(
    weights: Mapping[str, Array],
    config: ViTConfig,
    *,
    to: str,
    class_names: Sequence[str] | None = None,
    preprocessing: ResizingRule | None = None,
) -> Foreign:
    """Returns a model as another library has it.

    Args:
        weights: The model's weights by name.
        config: The model's.
        to: "timm" or "huggingface".
        class_names: What the head's outputs mean; by default their numbers.
        preprocessing: What brings images to the model's size; None for the size, uncut.

    Raises:
        InvalidArgumentError: The library cannot express the model, or there is no such library.
    """
    if to not in TARGETS:
        raise InvalidArgumentError(f"to={to!r} is none of {list(TARGETS)}.")
    rule = rule_for(config, preprocessing)
    classes = int(weights["head/kernel"].shape[-1]) if "head/kernel" in weights else None
    names = list(class_names) if class_names is not None else [str(index) for index in range(classes or 0)]
    if to == "timm":
        written = timm_config(config, classes, names if class_names is not None else None, rule)
        tensors = translate(weights, config, TIMM_PARALLEL if config.parallel_block else TIMM)
        return Foreign(tensors, {"config.json": written})
    model = huggingface_model(config, names)
    on_prefix = config.class_token + config.distillation_token
    if _POSITIONS in weights and not config.position_on_prefix and on_prefix:
        positions = np.asarray(weights[_POSITIONS])
        # Minus zero, because adding it changes no bit when the file is read and these are folded into their tokens.
        front = np.full((1, on_prefix, positions.shape[-1]), -0.0, positions.dtype)
        weights = {**weights, _POSITIONS: np.concatenate([front, positions], axis=1)}
    tensors = translate(weights, config, model.table)
    tensors = {
        name if name.startswith(model.outside) else model.prefix + name: array for name, array in tensors.items()
    }
    for name, shape in model.unused.items():
        tensors[model.prefix + name] = np.zeros(shape, "float32")
    texts = {"config.json": model.config}
    preprocessor = huggingface_preprocessor(config, rule)
    if preprocessor is not None:
        texts[PREPROCESSOR] = preprocessor
    else:
        _log.warning(
            "preprocessor_config.json is left out: transformers can't bring images to %s px by crop_mode=%r, so resize them as "
            "the model's own preprocessing does. It can by crop_mode='squash', and to a square by 'center'.",
            config.image_size,
            rule.crop_mode,
        )
    return Foreign(tensors, texts)


def translate(weights: Mapping[str, Array], config: ViTConfig, table: Table) -> dict[str, Array]:
    """Returns weights under a table's names; the reverse of reading them, to the bit.

    Args:
        weights: The model's weights by name.
        config: The model's.
        table: Whose names.

    Raises:
        InvalidArgumentError: A weight has no place there.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=4, num_layers=1, num_heads=2, mlp_dim=8)
        >>> translate({"head/kernel": np.zeros((4, 10))}, config, TIMM)["head.weight"].shape
        (10, 4)
    """
    return _Translation(weights, config, table).run()


@dataclass
class _Translation:
    weights: Mapping[str, Array]
    config: ViTConfig
    table: Table
    covered: set[str] = field(default_factory=set)
    tensors: dict[str, Array] = field(default_factory=dict)
    stacks: dict[tuple[str, int], list[Array]] = field(default_factory=dict)  # name and axis -> a block each

    def run(self) -> dict[str, Array]:
        for line in self.table.rows:
            spelling = next((spelling for spelling in line.ways if spelling.when(self.config)), None)
            if spelling is not None:
                for block in range(self.config.num_layers) if line.a_block else [None]:
                    self._write(line, spelling, block)
        self.tensors |= {name: np.stack(arrays, axis=axis) for (name, axis), arrays in self.stacks.items()}
        lost = [name for name in self.weights if name not in self.covered]
        if lost:
            raise InvalidArgumentError(
                f"{self.table.title} has no place for {len(lost)} weights: {lost[:_SHOWN]}; the model can't be written so."
            )
        return {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}

    def _write(self, line: Row, spelling: Way, block: int | None) -> None:
        targets = [numbered(target, block) for target in line.targets]
        ours = [name for name in targets if name != GAP]
        if not all(name in self.weights for name in ours) or any(name in self.covered for name in ours):
            return
        self.covered.update(ours)
        arrays = [np.asarray(self.weights[name if name != GAP else ours[0]]) for name in targets]
        arrays = [array if name != GAP else np.zeros_like(array) for name, array in zip(targets, arrays, strict=True)]
        if not spelling.names:
            if any(np.any(np.asarray(array, "float32")) for array in arrays):
                raise InvalidArgumentError(
                    f"{self.table.title} has no {', '.join(ours)}; it must be zero to be written so."
                )
            return
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)
        parts = [whole] if len(spelling.names) == 1 else np.split(whole, len(spelling.names), axis=-1)
        for name, part in zip(spelling.names, parts, strict=True):
            theirs = numbered(name, block, digits=self.table.digits)
            array = spelling.layout.to_theirs(part, self.config)
            if spelling.stacked is not None:
                self.stacks.setdefault((theirs, spelling.stacked), []).append(array)
            else:
                self.tensors[theirs] = array
