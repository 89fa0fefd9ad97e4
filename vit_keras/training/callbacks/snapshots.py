"""A model's weights as arrays in memory."""

from collections.abc import Mapping

import keras
import numpy as np

from vit_keras.distributed.arrays import to_numpy
from vit_keras.errors import WeightMismatchError
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.naming import find_differences, name_variables


def take_snapshot(model: keras.Model, *, average: ExponentialMovingAverage | None = None) -> dict[str, np.ndarray]:
    """Returns a copy of every weight, named by `name_variables`; averages replace the weights that they are of."""
    averages = {}
    if average is not None:
        averages = dict(zip(map(id, average.variables), average.arrays(), strict=False))
    return {
        name: averages[id(weight)].astype(weight.dtype) if id(weight) in averages else np.array(to_numpy(weight))
        for name, weight in name_variables(model.weights).items()
    }


def restore_snapshot(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Sets a model's weights to those of a snapshot, all or, with `WeightMismatchError`, none."""
    variables = name_variables(model.weights)
    if differences := find_differences(weights, variables):
        raise WeightMismatchError(
            f"The weights are of another model than {model.name!r}, and nothing was changed. Differences: {len(differences)}, the "
            f"first {'; '.join(differences[:5])}."
        )
    for name, variable in variables.items():
        variable.assign(weights[name])
