"""Everything that training depends on, as arrays and as what JSON holds, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from vit_keras.errors import ResumeError

_SHOWN = 5  # differences in an error
_GENERATOR = "generator/"
_ARRAY = "array"  # key of a place where an array was
_NOT_STATE = {"_model", "model", "params", "_params", "validation_data"}


def variables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """Names every variable of a compiled model, its seeds, its optimizer and its metrics among them.

    The names are of place and short name: paths repeat, and count the models a process has built.

    Args:
        model: Built and compiled, with its optimizer built and its metrics met by a batch.
    """
    owners = {
        "model": [*model.trainable_variables, *model.non_trainable_variables],
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    return {
        f"{owner}/{index:04d}/{item.name}": item for owner, items in owners.items() for index, item in enumerate(items)
    }


def arrays_of(model: keras.Model, into: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Returns a copy of every variable; backends may share, or give away, the memory that they show.

    Args:
        model: As `variables_of` takes it.
        into: Arrays to copy into where they fit: memory that is new costs ten times the copying.
    """
    kept = into or {}
    arrays = {
        name: _copied(keras.ops.convert_to_numpy(item), kept.get(name)) for name, item in variables_of(model).items()
    }
    return arrays | {name: state.numpy().copy() for name, state in _torch_generators().items()}


def _copied(array: np.ndarray, into: np.ndarray | None) -> np.ndarray:
    if into is None or into.shape != array.shape or into.dtype != array.dtype:
        return np.array(array)
    np.copyto(into, array)
    return into


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray], *, where: str) -> None:
    """Puts arrays back into the variables they were taken from, all of them or none.

    Args:
        model: As `variables_of` takes it.
        arrays: What `arrays_of` gave.
        where: What a message calls the arrays' origin.

    Raises:
        ResumeError: They are of another model, optimizer or set of metrics.
    """
    generators = _torch_generators()
    variables = variables_of(model)
    arrays, states = _parted(arrays, generators)
    differences = [f"{name} is missing" for name in variables if name not in arrays]
    differences += [f"{name} is too much" for name in arrays if name not in variables]
    differences += [
        f"{name} is {arrays[name].shape}, not {tuple(item.shape)}"
        for name, item in variables.items()
        if name in arrays and arrays[name].shape != tuple(item.shape)
    ]
    if differences:
        raise ResumeError(
            f"{where} is of another model or recipe, and nothing was changed: {len(differences)} differences, the first "
            f"{'; '.join(differences[:_SHOWN])}. Go on with the arguments the run was started with, or start a new one."
        )
    for name, item in variables.items():
        item.assign(arrays[name])
    _set_torch_generators(states)


def _torch_generators() -> dict[str, Any]:
    """Returns the states of torch's own generators, of which Keras' dropout draws where it has no seed of its own."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {f"{_GENERATOR}cpu": torch.get_rng_state()}
    for number, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []):
        states[f"{_GENERATOR}cuda:{number}"] = state
    return states


def _set_torch_generators(states: Mapping[str, np.ndarray]) -> None:
    for name, state in states.items():
        import torch

        device = name.removeprefix(_GENERATOR)
        values = torch.from_numpy(np.array(state))
        if device == "cpu":
            torch.set_rng_state(values)
        else:
            torch.cuda.set_rng_state(values, device)


def _parted(
    arrays: Mapping[str, np.ndarray], generators: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the arrays of variables and those of generators that are here, too."""
    states = {name: array for name, array in arrays.items() if name in generators}
    return {name: array for name, array in arrays.items() if name not in states}, states


def callbacks_state(
    callbacks: Sequence[keras.callbacks.Callback], into: Mapping[str, np.ndarray] | None = None
) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Returns what callbacks have gathered so far: arrays by name, and a JSON value a callback.

    A callback with `get_state` and `set_state` speaks for itself; of others, such as Keras' own, every attribute is taken that
    is a number, a word, an array, or made of those.

    Args:
        callbacks: In the order they are called.
        into: Arrays to copy into where they fit, as of `arrays_of`.
    """
    arrays: dict[str, np.ndarray] = {}
    kept = into or {}
    states = []
    for number, callback in enumerate(callbacks):
        state = callback.get_state() if hasattr(callback, "get_state") else _attributes(callback)
        name = _name_of(callback)
        states.append([name, _packed(state, f"callback/{number:02d}/{name}", arrays, kept)])
    return arrays, states


def set_callbacks_state(
    callbacks: Sequence[keras.callbacks.Callback],
    arrays: Mapping[str, np.ndarray],
    states: Sequence[Any],
    *,
    where: str,
) -> None:
    """Puts callbacks back where `callbacks_state` saw them.

    Args:
        callbacks: The same ones in the same order.
        arrays: By name.
        states: A JSON value a callback.
        where: What a message calls the states' origin.

    Raises:
        ResumeError: They are of other callbacks.
    """
    now, then = [_name_of(callback) for callback in callbacks], [name for name, _ in states]
    if now != then:
        raise ResumeError(f"{where} is of a run with other callbacks: {then} then, {now} now.")
    for callback, (_, packed) in zip(callbacks, states, strict=True):
        state = _unpacked(packed, arrays)
        if hasattr(callback, "set_state"):
            callback.set_state(state)
        else:
            vars(callback).update(state)


_NAMES = {"ExponentialMovingAverage": "WeightAverage", "RestoreBestWeights": "BestWeights"}
"""Names of callbacks in checkpoints, where they are not those of their classes: so they were called when the format was made."""


def _name_of(callback: keras.callbacks.Callback) -> str:
    name = type(callback).__name__
    return _NAMES.get(name, name)


def _attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    return {name: value for name, value in vars(callback).items() if name not in _NOT_STATE and _is_data(value)}


def _is_data(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_data, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_data, value.values()))
    return value is None or isinstance(value, bool | int | float | str | np.ndarray | np.generic)


def _packed(value: Any, name: str, arrays: dict[str, np.ndarray], kept: Mapping[str, np.ndarray]) -> Any:
    """Returns a value as JSON holds it, with its arrays laid into `arrays`."""
    if isinstance(value, np.generic) and not isinstance(value, np.ndarray):
        value = value.item()
    if isinstance(value, np.ndarray):
        arrays[name] = _copied(value, kept.get(name))
        return {_ARRAY: name}
    if isinstance(value, list | tuple):
        return [_packed(item, f"{name}/{index:04d}", arrays, kept) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {"items": [[key, _packed(item, f"{name}/{key}", arrays, kept)] for key, item in value.items()]}
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}  # JSON has no infinity
    return value


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        if "float" in value:
            return float(value["float"])
        return {key: _unpacked(item, arrays) for key, item in value["items"]}
    return value
