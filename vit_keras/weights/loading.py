"""A checkpoint of any library into a model: planned first, then every number looked at, then all of it or nothing."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.errors import CorruptFileError, WeightMismatchError
from vit_keras.models.wiring import read_model
from vit_keras.weights.adapt.options import AdaptOptions
from vit_keras.weights.formats.opening import open_tensors
from vit_keras.weights.formats.tensor_file import TensorFile
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.planning import plan
from vit_keras.weights.settings.read import contradictions, read_settings
from vit_keras.weights.steps import Plan
from vit_keras.weights.store import is_finite

_log = logging.getLogger(__name__)


def load(
    model: keras.Model,
    path: str | Path,
    *,
    source: str = "auto",
    adapt: AdaptOptions | None = None,
    keep_on_failure: bool = True,
    allow_nonfinite: bool = False,
) -> Plan:
    """Fills a model's weights from a checkpoint of timm, Hugging Face, Google, Meta or ours, and returns what was done.

    What is changed, kept or left out to make it fit, and what a config.json beside the file says otherwise than the model's config,
    is in the plan's notes and logged as warnings.

    Args:
        model: A model that `vit` or `from_preset` made.
        path: A `.safetensors` file, an index of several, an `.npz`, or a folder with the former.
        source: "auto", "timm", "huggingface", "google", "meta" or "vit_keras": whose names the file has.
        adapt: What may be changed to make it fit; by default what `AdaptOptions()` says.
        keep_on_failure: Leaves the model as it was when the file turns out to be damaged, which needs as much memory as the
            weights once more. False fills it tensor by tensor, for a model that a failure ends anyway.
        allow_nonfinite: Takes NaN and infinity as they are, to look at a model that training broke.

    Raises:
        StorageError: The file is not there or can't be read.
        InvalidArgumentError: An argument is not legal, the model is none of ours, or the file of a kind that is not read.
        CorruptFileError: The file is damaged, or holds a number that is not finite.
        WeightMismatchError: It does not fit the model, or a config.json beside it says that the same weights compute something else;
            every reason in one report.

    Example:
        >>> import tempfile
        >>> from vit_keras import ViTConfig, vit
        >>> from vit_keras.weights.store import write_tensors
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> model = vit(config, num_classes=10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
        ...     write_tensors(arrays, Path(folder) / "model.safetensors")
        ...     load(vit(config, num_classes=3), folder).notes[0].split(":")[0]
        'head'
    """
    parts, settings = read_model(model), read_settings(path, source=source)
    config, variables = parts.config, parts.weights()
    shapes = {name: tuple(weight.shape) for name, weight in variables.items()}
    with open_tensors(path) as file:
        own_head = parts.own_weights().keys()
        steps = plan(shapes, config, file, source=source, adapt=adapt, stated=settings.stated, own_head=own_head)
        steps = replace(steps, notes=(*contradictions(settings, config), *steps.notes))
        _check_zeros(steps, file)
        for note in steps.notes:
            _log.warning("%s: %s", path, note)
        if not keep_on_failure:
            for name, array in _read(steps, file, variables, allow_nonfinite):
                variables[name].assign(array)
            return steps
        for _ in _read(steps, file, variables, allow_nonfinite):
            pass  # each is looked at before the first is assigned; reading twice costs less than keeping all
        _exchange(variables, _read(steps, file, variables, allow_nonfinite))
    return steps


def _read(
    steps: Plan, file: TensorFile, variables: dict[str, Any], allow_nonfinite: bool
) -> Iterator[tuple[str, Array]]:
    """Gives the weights one after the other, each once it is known to be what the model takes."""
    for step in steps.steps:
        for name, array in step.run([file.read(source) for source in step.sources]).items():
            shape = tuple(variables[name].shape)
            if array.shape != shape:
                raise WeightMismatchError(f"{file.path}: {name} became {array.shape}, not {shape}.")
            fitting = _cast(array, variables[name].dtype)
            if not (allow_nonfinite or is_finite(fitting)):
                raise CorruptFileError(
                    f"{file.path}: {', '.join(step.sources)} holds {int(np.sum(~np.isfinite(fitting)))} numbers that are not "
                    f"finite in {name}; allow_nonfinite=True takes them as they are."
                )
            yield name, fitting


def _cast(array: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):  # what grows infinite is refused as such
        return array.astype(dtype, copy=False)


def _check_zeros(steps: Plan, file: TensorFile) -> None:
    lost = [name for name in steps.zeros if np.any(np.asarray(file.read(name), "float32"))]
    if lost:
        raise WeightMismatchError(
            f"{file.path}: {len(lost)} biases that the model has no weights for are not zero, the first {lost[0]}; "
            'qkv_bias="query_value" has them.'
        )


def _exchange(variables: dict[str, Any], arrays: Iterator[tuple[str, Array]]) -> None:
    """Assigns every array, or puts back what stood there: the file may change and the memory end even now."""
    before: dict[str, Array] = {}
    in_place = keras.backend.backend() == "torch"  # the others give a copy, or keep what an assignment replaces
    try:
        for name, array in arrays:
            stood = keras.ops.convert_to_numpy(variables[name])
            before[name] = stood.copy() if in_place else stood
            variables[name].assign(array)
    except BaseException:
        for name, array in before.items():
            variables[name].assign(array)
        raise
