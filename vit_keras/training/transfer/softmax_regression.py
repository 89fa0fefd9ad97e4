"""Multinomial logistic regression with an L2 penalty, by L-BFGS on standardized features rotated to their principal axes."""

import warnings
from dataclasses import dataclass

import numpy as np

_SMALL = 2**20  # numbers up to which features are computed in float64
_CHUNK = 2**20  # logits at once, to bound memory
_MOST_STEPS = 5000


@dataclass(frozen=True, eq=False)
class Axes:
    """Standardization and rotation of features to their principal axes, and the inverse.

    The rotation does not change the optimum, because the penalty is the same in every direction. But along the principal axes the
    curvature of the loss is proportional to `spread`, and L-BFGS needs a half to a third of the steps once each axis is scaled by it.
    """

    mean: np.ndarray  # `(dim,)`, of the features
    scale: np.ndarray  # `(dim,)`, about their standard deviation
    rotation: np.ndarray  # `(dim, rank)`, orthonormal columns
    spread: np.ndarray  # `(rank,)`, variance of the standardized features along each axis

    def rotate(self, features: np.ndarray) -> np.ndarray:
        """Returns features along the axes, `(count, rank)`, in the dtype of `rotation`."""
        rotated: np.ndarray = ((features - self.mean) / self.scale).astype(self.rotation.dtype) @ self.rotation
        return rotated

    def undo(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel and bias for the original features, in float32; the logits are the same."""
        plain = (self.rotation.astype("float64") @ kernel) / self.scale[:, None]
        return plain.astype("float32"), (bias - self.mean @ plain).astype("float32")


def find_axes(features: np.ndarray) -> Axes:
    """Returns the principal axes of features, each scaled to about unit variance first."""
    count, dim = features.shape
    mean = features.mean(axis=0, dtype="float64")
    scale = _scale(features.var(axis=0, dtype="float64"), count)
    standard = ((features - mean) / scale).astype("float64" if features.size <= _SMALL else "float32")
    spread, rotation = np.linalg.eigh((standard.T @ standard).astype("float64") / count)
    rank = min(count - 1, dim) or 1  # centered features span no more directions
    return Axes(mean, scale, rotation[:, -rank:].astype(standard.dtype), np.maximum(spread[-rank:], 0.0))


def _scale(variance: np.ndarray, count: int) -> np.ndarray:
    """Returns the divisor of each feature: about its standard deviation.

    With few images, variances are noisy. So their logarithms are shrunk towards their mean by the fraction of their variance that is
    sampling noise, as empirical Bayes does for genes (Smyth 2004, doi 10.2202/1544-6115.1027). With many images, nothing is shrunk.
    """
    from scipy.special import polygamma

    scale, varies = np.ones_like(variance), variance > 0
    if varies.any():
        levels = np.log(variance[varies])
        scatter = levels.var()
        kept = max(0.0, 1 - float(polygamma(1, (count - 1) / 2)) / scatter) if scatter else 0.0
        scale[varies] = np.exp((levels.mean() + kept * (levels - levels.mean())) / 2)
    return scale


@dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """The penalized mean cross-entropy of a linear classifier, and its minimum."""

    features: np.ndarray  # `(count, rank)`, along the axes of `find_axes`
    labels: np.ndarray  # `(count,)`, class indices; every class has an image
    weights: np.ndarray  # `(count,)`, of the images; they sum to 1
    spread: np.ndarray  # `(rank,)`, variance along each axis
    num_classes: int

    def start(self) -> np.ndarray:
        """Returns coefficients of zero, `(rank + 1, num_classes)`; the last row is the bias."""
        return np.zeros((self.features.shape[1] + 1, self.num_classes))

    def value(self, coefficients: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        """Returns `mean loss + penalty / 2 * sum of squared kernel`, and its gradient; the penalty is `1 / (count * C)` of scikit-learn's C."""
        kernel, bias = coefficients[:-1], coefficients[-1].astype(self.features.dtype)
        kernel_cast = kernel.astype(self.features.dtype)
        loss, gradient = penalty / 2 * float((kernel**2).sum()), np.zeros_like(coefficients)
        chunk = max(1, _CHUNK // self.num_classes)
        for start in range(0, len(self.labels), chunk):
            here = slice(start, start + chunk)
            features, weights = self.features[here], self.weights[here]
            right = (np.arange(len(features)), self.labels[here])
            logits = features @ kernel_cast
            logits += bias
            logits -= logits.max(axis=1, keepdims=True)
            chosen = logits[right]
            np.exp(logits, out=logits)
            total = logits.sum(axis=1)
            loss += float(weights @ (np.log(total) - chosen))
            logits *= (weights / total).astype(logits.dtype)[:, None]  # now the weighted probabilities
            logits[right] -= weights.astype(logits.dtype)
            gradient[:-1] += features.T @ logits
            gradient[-1] += logits.sum(axis=0, dtype="float64")
        gradient[:-1] += penalty * kernel
        return loss, gradient

    def fit(self, penalty: float, start: np.ndarray, *, tolerance: float) -> np.ndarray:
        """Returns the coefficients that minimize the value."""
        from scipy.optimize import minimize

        unit = np.ones((len(start), 1))
        unit[:-1, 0] = 1 / np.sqrt(self.spread / self.num_classes + penalty)  # one over the root of the curvature
        level = self.value(start, penalty)[0]

        def scaled(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.value(flat.reshape(start.shape) * unit, penalty)
            return value / level, (gradient * unit).ravel() / level

        found = minimize(
            scaled,
            (start / unit).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_STEPS, "maxfun": _MOST_STEPS, "maxcor": 20, "ftol": tolerance, "gtol": 0.0},
        )
        coefficients: np.ndarray = found.x.reshape(start.shape) * unit
        return coefficients

    def fit_closely(self, penalty: float, start: np.ndarray) -> np.ndarray:
        """Returns the coefficients that minimize the value, restarting L-BFGS until a restart gains nothing."""
        value, tolerance = self.value(start, penalty)[0], 1e-7  # relative decrease per step below which a fit stops
        for _ in range(20):
            start = self.fit(penalty, start, tolerance=tolerance)
            former, value = value, self.value(start, penalty)[0]
            if former - value <= 10 * tolerance * value:
                return start
        warnings.warn(f"The linear probe at penalty {penalty:g} did not converge in 20 restarts.", stacklevel=2)
        return start
