"""Chooses the penalty of a linear probe on holdout images: from strong to weak, each fit starting from the one before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vit_keras.training.transfer.softmax_regression import SoftmaxRegression

PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(2, -13, -1))  # 10 to 10^-6

_WITHOUT_COMPARISON = 1.0  # within half a point of the best with one image per class, for 2 to 10 classes
_FOLDS = 5
_MANY = 5000  # from this many images on, one fold is enough
_TOLERANCE = 1e-4  # of a fit, while penalties are compared
_CLEARLY = 2  # standard errors of accuracy above which the loss is ignored
_PATIENCE = 2  # weaker penalties in a row, worse in accuracy and loss, after which the search ends


@dataclass(frozen=True, eq=False)
class Holdout:
    """Holdout images, and the problem to fit without them."""

    problem: SoftmaxRegression
    features: np.ndarray  # `(count, rank)`, along the axes of the problem
    labels: np.ndarray  # `(count,)`; -1 for classes that the problem has no images of
    weights: np.ndarray  # `(count,)`, of the images

    def evaluate(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which images are classified correctly, and the cross-entropy of each, both `(count,)`."""
        logits = self.features @ coefficients[:-1] + coefficients[-1]
        logits -= logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), self.labels]
        return logits.argmax(axis=1) == self.labels, np.where(self.labels < 0, 0.0, losses)


@dataclass(frozen=True, eq=False)
class Choice:
    """The best penalty."""

    penalty: float
    accuracies: Mapping[float, float]  # on all holdout images, for each penalty tried
    coefficients: np.ndarray | None  # of the first problem at the best penalty; None without a holdout split


def split_folds(labels: np.ndarray) -> list[np.ndarray]:
    """Returns the indices of stratified folds; a class with one image stays out of all folds, so no class loses its only image."""
    fold, dealt = np.full(len(labels), -1), 0
    rng = np.random.Generator(np.random.Philox(key=0))
    for label in np.unique(labels):
        alike = np.flatnonzero(labels == label)
        if len(alike) > 1:
            fold[rng.permutation(alike)] = (dealt + np.arange(len(alike))) % _FOLDS
            dealt += len(alike)
    folds = [np.flatnonzero(fold == number) for number in range(_FOLDS)]
    return [chosen for chosen in folds if chosen.size][: 1 if len(labels) >= _MANY else _FOLDS]


def choose_penalty(folds: Sequence[Holdout], penalties: Sequence[float]) -> Choice:
    """Returns the penalty, of those from strong to weak, with the best accuracy where the loss is within one standard error of the lowest.

    With few holdout images, accuracy is coarse and its maximum random; the loss alone prefers strong penalties. A penalty whose accuracy
    is better by two standard errors is taken whatever its loss: with many classes, accuracy may still rise where the loss no longer
    falls. Of equal accuracies, the one with the lowest loss is taken.
    """
    if not folds:
        nearest = min(penalties, key=lambda penalty: abs(np.log(penalty / _WITHOUT_COMPARISON)))
        return Choice(nearest, {}, None)
    weights = np.concatenate([fold.weights for fold in folds])
    weights = weights / weights.sum()
    found = [fold.problem.start() for fold in folds]
    firsts, accuracies, losses, rights, each = [], [], [], [], []
    for penalty in penalties:
        found = [
            fold.problem.fit(penalty, start, tolerance=_TOLERANCE) for fold, start in zip(folds, found, strict=True)
        ]
        evaluated = [fold.evaluate(coefficients) for fold, coefficients in zip(folds, found, strict=True)]
        firsts.append(found[0])
        each.append(np.concatenate([loss for _, loss in evaluated]))
        rights.append(np.concatenate([right for right, _ in evaluated]).astype("float64"))
        accuracies.append(float(weights @ rights[-1]))
        losses.append(float(weights @ each[-1]))
        since = len(losses) - 1 - max(int(np.argmax(accuracies)), int(np.argmin(losses)))
        if since >= _PATIENCE:
            break
    least = int(np.argmin(losses))
    near = [
        place
        for place, value in enumerate(losses)
        if value - losses[least] <= _standard_error(each[place] - each[least], weights)
    ]
    best = max(near, key=lambda place: (accuracies[place], -losses[place]))
    top = max(range(len(losses)), key=lambda place: (accuracies[place], -losses[place]))
    if accuracies[top] - accuracies[best] > _CLEARLY * _standard_error(rights[top] - rights[best], weights):
        best = top
    return Choice(penalties[best], dict(zip(penalties, accuracies, strict=False)), firsts[best])


def _standard_error(differences: np.ndarray, weights: np.ndarray) -> float:
    """Returns the standard error of the weighted mean of paired differences; the weights sum to 1."""
    return float(np.sqrt((weights**2) @ (differences - weights @ differences) ** 2))
