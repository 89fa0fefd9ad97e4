"""SIGReg: how far embeddings are from an isotropic Gaussian, measured along random directions."""

import numpy as np
from keras import ops

from vit_keras.layers.base.checks import Tensor

KNOTS, LIMIT = 17, 3.0
"""Points of the integral over t, and its upper end; the integrand is symmetric around 0."""


def sigreg(embeddings: Tensor, directions: Tensor, *, knots: int = KNOTS, limit: float = LIMIT) -> Tensor:
    """Returns the Epps-Pulley statistic of embeddings along each direction: 0 for the characteristic function of N(0, 1).

    A sample of N(0, 1) has about 1.05 whatever its size, and equal embeddings about 0.4 times their number.

    Paper: Balestriero and LeCun 2025, LeJEPA, arXiv 2511.08544, section 4: `N * integral of |phi_sample(t) - phi(t)|^2 phi(t) dt` with
    `phi(t) = exp(-t^2 / 2)`, by the trapezoidal rule from -3 to 3.

    Args:
        embeddings: One sample per view.
        directions: Columns of any length; they are scaled to length 1.
        knots: Points from 0 to `limit`.
        limit: Upper end of the integral.

    Shapes:
        embeddings: `(..., batch, dim)`.
        directions: `(dim, num_directions)`.
        returns: `(..., num_directions)`, float32.

    Example:
        >>> from keras import ops
        >>> round(float(sigreg(ops.zeros((100, 3)), ops.ones((3, 1)))[0]), 1)
        40.2
    """
    directions = ops.cast(directions, "float32")
    length = ops.sqrt(ops.sum(ops.square(directions), axis=0, keepdims=True))
    projected = ops.matmul(ops.cast(embeddings, "float32"), directions / ops.maximum(length, 1e-12))
    points = np.linspace(0, limit, knots)
    steps = np.full(knots, 2 * limit / (knots - 1))  # times two: the integrand is symmetric
    steps[[0, -1]] /= 2
    gaussian = np.exp(-(points**2) / 2)
    times, target, weights = (ops.convert_to_tensor(each, "float32") for each in (points, gaussian, steps * gaussian))
    angles = ops.expand_dims(projected, -1) * times  # (..., batch, num_directions, knots)
    real, imaginary = ops.mean(ops.cos(angles), axis=-3), ops.mean(ops.sin(angles), axis=-3)
    distance = ops.square(real - target) + ops.square(imaginary)
    count = ops.cast(ops.shape(embeddings)[-2], distance.dtype)
    return count * ops.sum(distance * weights, axis=-1)
