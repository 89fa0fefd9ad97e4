"""A model's weights as arrays in memory."""

from collections.abc import Mapping

import keras
import numpy as np

from vit_keras.errors import WeightMismatchError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage


def take_snapshot(model: keras.Model, *, average: ExponentialMovingAverage | None = None) -> dict[str, np.ndarray]:
    """Returns a copy of every weight, by index and short name; averages replace the weights that they are of.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> list(take_snapshot(model))
        ['0000/kernel', '0001/bias']
    """
    averages = {}
    if average is not None:
        averages = dict(zip(map(id, average.variables), average.arrays(), strict=False))
    return {
        name: averages[id(weight)].astype(weight.dtype)
        if id(weight) in averages
        else np.array(keras.ops.convert_to_numpy(weight))
        for name, weight in _weights_by_name(model).items()
    }


def restore_snapshot(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Sets a model's weights to those of a snapshot, all of them or none.

    Raises:
        WeightMismatchError: They are of another model.
    """
    expected = _weights_by_name(model)
    wrong = [
        f"{name} is {weights[name].shape if name in weights else 'missing'}, not {tuple(weight.shape)}"
        for name, weight in expected.items()
        if name not in weights or weights[name].shape != tuple(weight.shape)
    ]
    wrong += [f"{name} is unexpected" for name in weights if name not in expected]
    if wrong:
        raise WeightMismatchError(
            f"The weights are of another model than {model.name!r}, and nothing was changed. Differences: {len(wrong)}, the first "
            f"{'; '.join(wrong[:5])}."
        )
    for name, weight in expected.items():
        weight.assign(weights[name])


def _weights_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    # Paths are not unique and depend on how many models the process has built.
    return {f"{index:04d}/{weight.name}": weight for index, weight in enumerate(model.weights)}
