"""Linear probes for labels that are rows: several classes per image, or numbers; the penalty is chosen by the holdout loss."""

from collections.abc import Callable, Sequence

import numpy as np

from vit_keras.training.transfer.feature_checks import check_features
from vit_keras.training.transfer.linear_probe import LinearProbe
from vit_keras.training.transfer.penalty_search import PENALTIES
from vit_keras.training.transfer.softmax_regression import find_axes

_PATIENCE = 2  # weaker penalties in a row with a higher loss, after which the search ends
_TOLERANCE = 1e-6  # relative decrease of the loss per step below which a fit stops
_MOST_STEPS = 2000


def multi_label_probe(
    features: np.ndarray,
    labels: np.ndarray,
    validation_features: np.ndarray,
    validation_labels: np.ndarray,
    *,
    class_weights: Sequence[float] | None = None,
) -> LinearProbe:
    """Returns one logistic regression per class, with the lowest sigmoid cross-entropy under an L2 penalty.

    A class that no training image has, or that all have, gets the bias of its frequency, with one image more of each kind.

    Args:
        features: `(count, dim)`, of the training images.
        labels: `(count, classes)`, 0 or 1.
        validation_features: Of the images that choose the penalty.
        validation_labels: Their labels.
        class_weights: A factor per class for the loss of the images that have it.
    """
    from scipy.optimize import minimize

    factors = np.ones(labels.shape[1]) if class_weights is None else np.asarray(class_weights, "float64")
    positive = labels.sum(axis=0, dtype="float64")
    varies = (positive > 0) & (positive < len(labels))
    targets = labels.astype("float64")
    importance = np.where(targets > 0, factors, 1.0)

    def mean_loss(logits: np.ndarray, targets: np.ndarray, importance: np.ndarray) -> float:
        return float((importance * (np.logaddexp(0, logits) - targets * logits)).sum(axis=1).mean())

    def fit(rotated: np.ndarray, penalty: float, start: np.ndarray) -> np.ndarray:
        chosen, weights = targets[:, varies], importance[:, varies]

        def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
            coefficients = flat.reshape(start[:, varies].shape)
            kernel, bias = coefficients[:-1], coefficients[-1]
            logits = rotated @ kernel + bias
            residual = weights * (1 / (1 + np.exp(-logits)) - chosen) / len(rotated)
            gradient = np.concatenate([rotated.T @ residual + penalty * kernel, residual.sum(axis=0)[None]])
            return mean_loss(logits, chosen, weights) + penalty / 2 * float((kernel**2).sum()), gradient.ravel()

        found = minimize(
            value, start[:, varies].ravel(), jac=True, method="L-BFGS-B",
            options={"maxiter": _MOST_STEPS, "ftol": _TOLERANCE, "maxcor": 20},
        )  # fmt: skip
        coefficients = start.copy()
        coefficients[:, varies] = found.x.reshape(start[:, varies].shape)
        return coefficients

    start = np.zeros((features.shape[1] + 1, labels.shape[1]))
    start[-1] = np.log((positive + 1) / (len(labels) - positive + 1))
    held_out = validation_labels.astype("float64")
    weights = np.where(held_out > 0, factors, 1.0)
    return _search(features, validation_features, fit, lambda logits: mean_loss(logits, held_out, weights), start=start)


def regression_probe(
    features: np.ndarray, labels: np.ndarray, validation_features: np.ndarray, validation_labels: np.ndarray
) -> LinearProbe:
    """Returns a ridge regression of each target, with the lowest squared error of the validation images.

    Args:
        features: `(count, dim)`, of the training images.
        labels: `(count, targets)`, of about unit variance.
        validation_features: Of the images that choose the penalty.
        validation_labels: Their labels.
    """
    mean = labels.mean(axis=0)

    def fit(rotated: np.ndarray, penalty: float, start: np.ndarray) -> np.ndarray:
        spread = (rotated**2).mean(axis=0)  # along the principal axes the features are uncorrelated
        products = rotated.T @ (labels - mean) / len(rotated)
        return np.concatenate([products / (spread + penalty)[:, None], mean[None]])

    start = np.zeros((features.shape[1] + 1, labels.shape[1]))
    return _search(
        features,
        validation_features,
        fit,
        lambda found: float(((found - validation_labels) ** 2).mean()),
        start=start,
    )


def _search(
    features: np.ndarray,
    validation_features: np.ndarray,
    fit: Callable[[np.ndarray, float, np.ndarray], np.ndarray],
    loss: Callable[[np.ndarray], float],
    *,
    start: np.ndarray,
) -> LinearProbe:
    """Returns the classifier of the penalty with the lowest holdout loss, from strong to weak, each fit starting from the one before."""
    features = check_features(features, "training features")
    held_out = check_features(validation_features, "validation features", dim=features.shape[1])
    axes = find_axes(features)
    rotated, rotated_held_out = (axes.rotate(each).astype("float64") for each in (features, held_out))
    coefficients = np.concatenate([np.zeros((rotated.shape[1], start.shape[1])), start[-1:]])
    best, lowest, penalty_found, since = coefficients, np.inf, PENALTIES[0], 0
    for penalty in PENALTIES:
        coefficients = fit(rotated, penalty, coefficients)
        found = loss(rotated_held_out @ coefficients[:-1] + coefficients[-1])
        since = 0 if found < lowest else since + 1
        if found < lowest:
            best, lowest, penalty_found = coefficients, found, penalty
        if since >= _PATIENCE:
            break
    kernel, bias = axes.undo(best[:-1], best[-1])
    return LinearProbe(kernel, bias, penalty_found, {})
