"""Weights as numpy arrays."""

import keras
import numpy as np


def arrays(variables):
    """Returns copies."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def values(model):
    return dict(zip((weight.path for weight in model.weights), arrays(model.weights), strict=True))


def changed(before, after):
    """Returns the paths of weights that differ."""
    return {path for path in before if not np.array_equal(before[path], after[path])}


def assert_equal(one, other):
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


def randomize(model, seed=1):
    """Draws all weights, 0.3 wide."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3).astype("float32"))
    return model
