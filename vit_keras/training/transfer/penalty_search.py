"""Which strength of a penalty does best on images held out: a path from strong to weak, each fit from the one before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vit_keras.training.transfer.softmax_regression import SoftmaxRegression

PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(2, -13, -1))
"""10 to 10^-6, half a power of ten apart."""

_WITHOUT_COMPARISON = 1.0  # within half a point of the best with one image a class, of 2 to 10 classes
_FOLDS = 5
_MANY = 5000  # images of which one fold is enough to choose by
_TOLERANCE = 1e-4  # of a step, while penalties are compared
_CLEARLY = 2  # standard errors by which a strength must be more accurate for its loss not to matter
_PATIENCE = 2  # weaker penalties in a row, worse in accuracy and loss, after which the search ends


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images to judge by, and the problem of those without them.

    Args:
        problem: To fit.
        features: `(count, rank)`, of the images held out, along the axes of the problem's.
        labels: `(count,)`; -1 for what the problem can't know.
        weights: `(count,)`, how much each image counts.
    """

    problem: SoftmaxRegression
    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def judge(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which images are right, and the cross-entropy of each, `(count,)`."""
        logits = self.features @ coefficients[:-1] + coefficients[-1]
        logits -= logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), self.labels]
        return logits.argmax(axis=1) == self.labels, np.where(self.labels < 0, 0.0, losses)


@dataclass(frozen=True, eq=False)
class Choice:
    """What a search found.

    Args:
        penalty: The strength that does best.
        accuracies: Fraction right of all images held out, by each strength tried.
        coefficients: Of the first problem at that strength; None where nothing was held out.
    """

    penalty: float
    accuracies: Mapping[float, float]
    coefficients: np.ndarray | None


def held_out(labels: np.ndarray) -> list[np.ndarray]:
    """Returns the images to hold out in turn, each class dealt evenly; none of a class's last, so no class loses all.

    Args:
        labels: `(count,)`.

    Example:
        >>> [fold.tolist() for fold in held_out(np.array([0, 0, 1]))]
        [[0], [1]]
    """
    fold, dealt = np.full(len(labels), -1), 0
    rng = np.random.Generator(np.random.Philox(key=0))
    for label in np.unique(labels):
        alike = np.flatnonzero(labels == label)
        if len(alike) > 1:
            fold[rng.permutation(alike)] = (dealt + np.arange(len(alike))) % _FOLDS
            dealt += len(alike)
    folds = [np.flatnonzero(fold == number) for number in range(_FOLDS)]
    return [chosen for chosen in folds if chosen.size][: 1 if len(labels) >= _MANY else _FOLDS]


def choose(folds: Sequence[HeldOut], penalties: Sequence[float]) -> Choice:
    """Returns the strength with the best accuracy among those whose loss is within one standard error of the least.

    With few images held out accuracy is a coarse measure, and its maximum a matter of chance; the loss alone leans to strong
    penalties. Only a strength that is more accurate by two standard errors is taken whatever its loss: with many classes accuracy
    may go on rising where the loss no longer falls. Of equals in accuracy the one with the least loss is taken.

    Args:
        folds: Images held out, each with its problem; empty where none can be.
        penalties: Strengths from strong to weak.
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
        judged = [fold.judge(coefficients) for fold, coefficients in zip(folds, found, strict=True)]
        firsts.append(found[0])
        each.append(np.concatenate([loss for _, loss in judged]))
        rights.append(np.concatenate([right for right, _ in judged]).astype("float64"))
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
    """Returns that of the weighted mean of the differences, image by image, between two strengths; the weights sum to 1."""
    return float(np.sqrt((weights**2) @ (differences - weights @ differences) ** 2))
