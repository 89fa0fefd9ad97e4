"""The state of a training run as arrays and JSON: model, optimizer, metrics, random generators and callbacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from vit_keras.distributed.arrays import to_numpy
from vit_keras.errors import ResumeError
from vit_keras.training.callbacks.naming import find_differences, name_variables
from vit_keras.validation import list_words

_GENERATOR = "generator/"
_ARRAY = "array"  # key that stands in JSON for an array
_NOT_STATE = {"_model", "model", "params", "_params", "validation_data"}
_NAMES = {"ExponentialMovingAverage": "WeightAverage", "RestoreBestWeights": "BestWeights"}
"""Names of callback classes in checkpoints where they differ: those the classes had in format 1."""


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns every variable of a compiled model, whose optimizer is built and whose metrics have seen a batch."""
    owners = {
        "model": [*model.trainable_variables, *model.non_trainable_variables],
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    return {f"{owner}/{name}": item for owner, items in owners.items() for name, item in name_variables(items).items()}


def get_arrays(model: keras.Model, into: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Returns a copy of every variable, since backends may share or reuse the memory they return.

    It copies into the arrays of `into` where they fit: allocating new memory takes ten times as long as copying.
    """
    into = into or {}
    arrays = {name: _copy(to_numpy(item), into.get(name)) for name, item in named_variables(model).items()}
    return arrays | {name: state.numpy().copy() for name, state in _torch_generators().items()}


def _copy(array: np.ndarray, into: np.ndarray | None) -> np.ndarray:
    if into is None or into.shape != array.shape or into.dtype != array.dtype:
        return np.array(array)
    np.copyto(into, array)
    return into


def set_arrays(model: keras.Model, arrays: Mapping[str, np.ndarray], *, where: str) -> None:
    """Sets the variables that `get_arrays` copied, all or, with `ResumeError`, none; `where` names their origin in the error."""
    generators = _torch_generators().keys() & arrays
    values = {name: array for name, array in arrays.items() if name not in generators}
    variables = named_variables(model)
    if differences := find_differences(values, variables):
        raise ResumeError(
            f"{where} is of another model or recipe, and nothing was changed. Differences: {len(differences)}, the first "
            f"{'; '.join(differences[:5])}. Resume with the arguments of the original run, or start a new one."
        )
    for name, item in variables.items():
        item.assign(values[name])
    for name in generators:
        _set_torch_generator(name.removeprefix(_GENERATOR), arrays[name])


def _torch_generators() -> dict[str, Any]:
    """Returns the states of torch's global generators, which Keras' dropout uses where it has no seed of its own."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {f"{_GENERATOR}cpu": torch.get_rng_state()}
    for number, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []):
        states[f"{_GENERATOR}cuda:{number}"] = state
    return states


def _set_torch_generator(device: str, state: np.ndarray) -> None:
    import torch

    values = torch.from_numpy(np.array(state))
    if device == "cpu":
        torch.set_rng_state(values)
    else:
        torch.cuda.set_rng_state(values, device)


def get_callback_states(
    callbacks: Sequence[keras.callbacks.Callback], into: Mapping[str, np.ndarray] | None = None
) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Returns the states of callbacks: arrays by name, and one JSON value per callback; `into` is as for `get_arrays`.

    Of a callback without `get_state`, such as Keras' own, it is every attribute that is a number, string, array, or container of these.
    """
    arrays: dict[str, np.ndarray] = {}
    states = []
    for number, callback in enumerate(callbacks):
        state = callback.get_state() if hasattr(callback, "get_state") else _plain_attributes(callback)
        name = _saved_name(callback)
        states.append([name, _pack(state, f"callback/{number:02d}/{name}", arrays, into or {})])
    return arrays, states


def set_callback_states(
    callbacks: Sequence[keras.callbacks.Callback],
    arrays: Mapping[str, np.ndarray],
    states: Sequence[Any],
    *,
    where: str,
) -> None:
    """Restores what `get_callback_states` returned; other callbacks raise `ResumeError`, in which `where` names its origin."""
    now, then = [_saved_name(callback) for callback in callbacks], [name for name, _ in states]
    if now != then:
        raise ResumeError(f"{where} is of a run with other callbacks: {list_words(then)} then, {list_words(now)} now.")
    for callback, (_, packed) in zip(callbacks, states, strict=True):
        state = _unpack(packed, arrays)
        if hasattr(callback, "set_state"):
            callback.set_state(state)
        else:
            vars(callback).update(state)


def _saved_name(callback: keras.callbacks.Callback) -> str:
    name = type(callback).__name__
    return _NAMES.get(name, name)


def _plain_attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    return {name: value for name, value in vars(callback).items() if name not in _NOT_STATE and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str | np.ndarray | np.generic)


def _pack(value: Any, name: str, arrays: dict[str, np.ndarray], into: Mapping[str, np.ndarray]) -> Any:
    """Returns a value as JSON can hold it, after moving its arrays to `arrays`."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        arrays[name] = _copy(value, into.get(name))
        return {_ARRAY: name}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{name}/{index:04d}", arrays, into) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {"items": [[key, _pack(item, f"{name}/{key}", arrays, into)] for key, item in value.items()]}
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}  # JSON has no infinity
    return value


def _unpack(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        if "float" in value:
            return float(value["float"])
        return {key: _unpack(item, arrays) for key, item in value["items"]}
    return value
