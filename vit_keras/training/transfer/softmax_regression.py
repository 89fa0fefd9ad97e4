"""Multinomial logistic regression with an L2 penalty, by L-BFGS on features turned into the axes of their scatter."""

import warnings
from dataclasses import dataclass

import numpy as np

_SMALL = 2**20  # numbers; features of so few are computed with in float64
_TOGETHER = 2**20  # logits at once, so that memory is bounded
_MOST_STEPS = 5000


@dataclass(frozen=True, eq=False)
class Axes:
    """Standardisation and rotation of features, and the way back.

    Rotated features have the same optimum, as the penalty is the same in every direction; but along the axes of their scatter the
    curvature of the loss is in proportion to `spread`, and L-BFGS needs a half to a third of the steps once each axis is measured
    in its own unit.

    Args:
        mean: `(dim,)`, of the features.
        scale: `(dim,)`, what they are divided by.
        turn: `(dim, rank)`, orthonormal columns.
        spread: `(rank,)`, variance of the standardised features along each.
    """

    mean: np.ndarray
    scale: np.ndarray
    turn: np.ndarray
    spread: np.ndarray

    def of(self, features: np.ndarray) -> np.ndarray:
        """Returns features along the axes, `(count, rank)`, in the dtype of `turn`."""
        turned: np.ndarray = ((features - self.mean) / self.scale).astype(self.turn.dtype) @ self.turn
        return turned

    def undo(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel and bias for features as they came, in float32; the logits are the same."""
        plain = (self.turn.astype("float64") @ kernel) / self.scale[:, None]
        return plain.astype("float32"), (bias - self.mean @ plain).astype("float32")


def axes_of(features: np.ndarray) -> Axes:
    """Returns the axes along which features scatter, each feature brought to about unit variance first.

    Args:
        features: `(count, dim)`.

    Example:
        >>> axes = axes_of(np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]]))
        >>> axes.mean, axes.turn.shape
        (array([2., 5.]), (2, 2))
    """
    count, dim = features.shape
    mean = features.mean(axis=0, dtype="float64")
    scale = _scale(features.var(axis=0, dtype="float64"), count)
    standard = ((features - mean) / scale).astype("float64" if features.size <= _SMALL else "float32")
    spread, turn = np.linalg.eigh((standard.T @ standard).astype("float64") / count)
    rank = min(count - 1, dim) or 1  # centred images lie in no more directions
    return Axes(mean, scale, turn[:, -rank:].astype(standard.dtype), np.maximum(spread[-rank:], 0.0))


def _scale(variance: np.ndarray, count: int) -> np.ndarray:
    """Returns what to divide each feature by: about its standard deviation.

    Few images say little of a variance, and of two images standardisation would leave nothing but which feature is larger. So the
    logarithms are drawn towards their mean by the part of their scatter that chance alone would give, as empirical Bayes does with
    the variances of genes (Smyth 2004, doi 10.2202/1544-6115.1027). With many images nothing is left of it.
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
    """The mean cross-entropy of a linear classifier, and its minimum under a penalty.

    Args:
        features: `(count, rank)`, along the axes of `axes_of`.
        labels: `(count,)`, each an index of a class; every class has an image.
        weights: `(count,)`, of the images; they sum to 1.
        spread: `(rank,)`, variance along each axis.
        num_classes: Classes.
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    spread: np.ndarray
    num_classes: int

    def start(self) -> np.ndarray:
        """Returns coefficients of zero, `(rank + 1, num_classes)`; the last row is the bias."""
        return np.zeros((self.features.shape[1] + 1, self.num_classes))

    def value(self, coefficients: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        """Returns `mean loss + penalty / 2 * sum of kernel squares`, and its gradient; the bias is not penalised.

        Args:
            coefficients: `(rank + 1, num_classes)`, the bias last.
            penalty: Strength; scikit-learn's C is `1 / (penalty * count)`.
        """
        kernel, bias = coefficients[:-1], coefficients[-1].astype(self.features.dtype)
        kernel_cast = kernel.astype(self.features.dtype)
        loss, gradient = penalty / 2 * float((kernel**2).sum()), np.zeros_like(coefficients)
        together = max(1, _TOGETHER // self.num_classes)
        for start in range(0, len(self.labels), together):
            here = slice(start, start + together)
            features, weights = self.features[here], self.weights[here]
            right = (np.arange(len(features)), self.labels[here])
            logits = features @ kernel_cast
            logits += bias
            logits -= logits.max(axis=1, keepdims=True)
            chosen = logits[right]
            np.exp(logits, out=logits)
            total = logits.sum(axis=1)
            loss += float(weights @ (np.log(total) - chosen))
            logits *= (weights / total).astype(logits.dtype)[:, None]  # by now each class's probability, weighted
            logits[right] -= weights.astype(logits.dtype)
            gradient[:-1] += features.T @ logits
            gradient[-1] += logits.sum(axis=0, dtype="float64")
        gradient[:-1] += penalty * kernel
        return loss, gradient

    def fit(self, penalty: float, start: np.ndarray, *, tolerance: float) -> np.ndarray:
        """Returns the coefficients of the least value.

        Args:
            penalty: Strength, positive.
            start: Coefficients to start from, best those of a stronger penalty.
            tolerance: Gain of a step, as a fraction of the value, that is too little to go on.
        """
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

    def fit_closely(self, penalty: float, start: np.ndarray, *, tolerance: float = 1e-7) -> np.ndarray:
        """Returns the coefficients of the least value, started anew until that gains nothing more.

        Args:
            penalty: Strength, positive.
            start: Coefficients to start from.
            tolerance: Gain of a whole new start, as a fraction of the value, that is too little to go on.
        """
        value = self.value(start, penalty)[0]
        for _ in range(20):
            start = self.fit(penalty, start, tolerance=tolerance)
            former, value = value, self.value(start, penalty)[0]
            if former - value <= 10 * tolerance * value:
                return start
        warnings.warn(f"The linear probe at penalty {penalty:g} had not settled after 20 starts.", stacklevel=2)
        return start
