"""Loads a checkpoint into a model: plan, check every number, then assign all weights or none."""

import logging
from collections.abc import Iterator, Mapping
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
from vit_keras.weights.settings.apply import find_contradictions, list_assumptions
from vit_keras.weights.settings.read import Settings, read_settings
from vit_keras.weights.steps import Plan
from vit_keras.weights.store import is_finite

_log = logging.getLogger(__name__)


def load(
    model: keras.Model,
    path: str | Path,
    *,
    source: str = "auto",
    prefix: str | None = None,
    adapt: AdaptOptions | None = None,
    keep_on_failure: bool = True,
    allow_nonfinite: bool = False,
    settings: Settings | None = None,
) -> Plan:
    """Loads a checkpoint of vit_keras or of another library into a model; returns what was done.

    Everything that is changed, kept or left out to fit the model, and where a config.json beside the file contradicts the model's
    config, is in the plan's notes and logged as a warning; so is, in its `assumptions`, what changes the outputs and the file does not
    state, such as the number of heads.

    Args:
        model: A model that `vit` or `from_preset` made.
        path: A `.safetensors` file, an index of sharded ones, an `.npz`, a file of `torch.save`, or a directory with one of them.
        source: Whose names the file has: "vit_keras", "timm", "huggingface", "google", "meta", "torchvision", "keras_hub",
            "lucidrains", "jeonsworld", "microsoft", "mmpretrain", or "auto" to detect it.
        prefix: What stands in front of the names of the model's tensors, such as "model_ema."; None to find it. Where a file has
            several models, the default is that of averaged weights: "ema" or "teacher".
        adapt: What may be changed of the checkpoint to fit the model.
        keep_on_failure: Leaves the model unchanged when the file turns out to be damaged; needs memory for a copy of the weights.
        allow_nonfinite: Loads NaN and infinity, to inspect a model whose training diverged.
        settings: What `read_settings` returned for the checkpoint; None to read it.

    Raises:
        StorageError: The file does not exist or cannot be read.
        InvalidArgumentError: An argument is illegal, vit_keras did not make the model, or the file has an unsupported format.
        CorruptFileError: The file is damaged, or holds NaN or infinity.
        WeightMismatchError: It does not fit the model, or its config.json has other settings; the message has all reasons.

    Example:
        >>> import tempfile
        >>> from vit_keras import from_preset, save_preset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_preset(from_preset("test_vit", num_classes=10), folder + "/mine")
        ...     load(from_preset("test_vit", num_classes=3), path).notes[0].split(":")[0]
        'head'
    """
    parts = read_model(model)
    settings = settings or read_settings(path, source=source, prefix=prefix)
    config, variables = parts.config, parts.weights()
    shapes = {name: tuple(weight.shape) for name, weight in variables.items()}
    with open_tensors(path) as file:
        own_head = parts.own_weights().keys()
        steps = plan(
            shapes, config, file, source=source, prefix=prefix, adapt=adapt, stated=settings.stated, own_head=own_head
        )
        steps = replace(
            steps,
            notes=(*find_contradictions(settings, config), *steps.notes),
            assumptions=list_assumptions(settings, config, steps.table),
        )
        _check_zeros(steps, file)
        for note in steps.notes:
            _log.warning("%s: %s", path, note)
        if steps.assumptions:
            _log.warning(
                "%s: assumed, because the checkpoint does not state it: %s", path, ", ".join(steps.assumptions)
            )
        if keep_on_failure:
            # Checks all weights before the first is assigned: reading twice needs less memory than keeping them.
            for _ in read_weights(steps, file, variables, allow_nonfinite):
                pass
            _assign_all(variables, read_weights(steps, file, variables, allow_nonfinite))
        else:
            for name, array in read_weights(steps, file, variables, allow_nonfinite):
                variables[name].assign(array)
    return steps


def read_weights(
    steps: Plan, file: TensorFile, variables: Mapping[str, Any], allow_nonfinite: bool
) -> Iterator[tuple[str, Array]]:
    """Yields the weights one by one, checked."""
    for step in steps.steps:
        for name, array in step.run([file.read(source) for source in step.sources]).items():
            shape = tuple(variables[name].shape)
            if array.shape != shape:
                raise WeightMismatchError(f"{file.path}: {name} became {array.shape}, not {shape}.")
            with np.errstate(over="ignore"):  # what becomes infinite is refused below
                array = array.astype(variables[name].dtype, copy=False)
            if not (allow_nonfinite or is_finite(array)):
                raise CorruptFileError(
                    f"{file.path}: {', '.join(step.sources)} holds NaN or infinity in {name}, numbers: "
                    f"{int(np.sum(~np.isfinite(array)))}; allow_nonfinite=True loads them."
                )
            yield name, array


def _check_zeros(steps: Plan, file: TensorFile) -> None:
    nonzero = [name for name in steps.zeros if np.any(np.asarray(file.read(name), "float32"))]
    if nonzero:
        raise WeightMismatchError(
            f"{file.path}: biases that the model has no weights for are not zero: {len(nonzero)}, the first {nonzero[0]}; "
            'a model with qkv_bias="query_value" has them.'
        )


def _assign_all(variables: dict[str, Any], arrays: Iterator[tuple[str, Array]]) -> None:
    """Assigns all arrays; on any error, such as of memory, or a file that changed meanwhile, restores all weights."""
    before: dict[str, Array] = {}
    is_view = keras.backend.backend() == "torch"  # the other backends return a copy, or do not assign in place
    try:
        for name, array in arrays:
            old = keras.ops.convert_to_numpy(variables[name])
            before[name] = old.copy() if is_view else old
            variables[name].assign(array)
    except BaseException:
        for name, array in before.items():
            variables[name].assign(array)
        raise
