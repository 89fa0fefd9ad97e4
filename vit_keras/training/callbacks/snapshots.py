"""A model's weights as arrays in memory, and back."""

from collections.abc import Mapping

import keras
import numpy as np

from vit_keras.errors import WeightMismatchError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage


def snapshot(model: keras.Model, *, average: ExponentialMovingAverage | None = None) -> dict[str, np.ndarray]:
    """Returns a copy of every weight, by place and short name.

    Args:
        model: Built.
        average: Whose averages stand in for the weights that it averages.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> list(snapshot(model))
        ['0000/kernel', '0001/bias']
    """
    averages = {}
    if average is not None:
        averages = dict(zip(map(id, average.variables), average.arrays(), strict=False))
    return {
        name: averages[id(weight)].astype(weight.dtype)
        if id(weight) in averages
        else np.array(keras.ops.convert_to_numpy(weight))
        for name, weight in _named(model).items()
    }


def put_back(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Makes a model's weights those of a snapshot, all of them or none.

    Args:
        model: As `snapshot` took it.
        weights: What `snapshot` gave.

    Raises:
        WeightMismatchError: They are of another model.
    """
    mine = _named(model)
    wrong = [
        f"{name} is {weights[name].shape if name in weights else 'missing'}, not {tuple(weight.shape)}"
        for name, weight in mine.items()
        if name not in weights or weights[name].shape != tuple(weight.shape)
    ]
    wrong += [f"{name} is too much" for name in weights if name not in mine]
    if wrong:
        raise WeightMismatchError(
            f"The weights are of another model than {model.name!r}, and nothing was changed: {len(wrong)} differences, the first "
            f"{'; '.join(wrong[:5])}."
        )
    for name, weight in mine.items():
        weight.assign(weights[name])


def _named(model: keras.Model) -> dict[str, keras.Variable]:
    """Names weights by place: paths repeat, and count the models a process has built."""
    return {f"{index:04d}/{weight.name}": weight for index, weight in enumerate(model.weights)}
