"""What can be said of an evaluation, and how surely: intervals, classes, pairs that are confused, calibration."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from vit_keras.evaluation.evaluate import Evaluation

CALIBRATION_BINS = 15
_Z = NormalDist().inv_cdf(0.975)


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of a fraction that was counted, by Wilson's score.

    Unlike the plain normal one it stays within 0 and 1, and holds for few images and for fractions near the ends (Wilson
    1927; Brown, Cai and DasGupta 2001).

    Args:
        right: How many were right.
        count: Of how many; of none, nothing is known.

    Example:
        >>> [round(bound, 3) for bound in wilson_interval(90, 100)]
        [0.826, 0.945]
    """
    if count == 0:
        return 0.0, 1.0
    share, spread = right / count, _Z**2 / count
    middle = share + spread / 2
    reach = _Z * math.sqrt((share * (1 - share) + spread / 4) / count)
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    return (0.0 if right == 0 else low), (1.0 if right == count else high)  # exactly, where rounding leaves a rest


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well one class is told from the others.

    Args:
        label: Its index into the class names.
        support: Images of it.
        precision: Fraction right of the images said to be of it; NaN where none was.
        recall: Fraction found of its images; NaN where there are none.
        f1: Harmonic mean of the two; NaN where there are neither images nor answers.
        recall_interval: The 95 % interval of the recall.
    """

    label: int
    support: int
    precision: float
    recall: float
    f1: float
    recall_interval: tuple[float, float]


def class_scores(evaluation: Evaluation) -> list[ClassScore]:
    """Returns the scores of every class, in the order of the class names.

    Args:
        evaluation: What a model says of images.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels = np.arange(evaluation.probabilities.shape[1])
    columns = precision_recall_fscore_support(
        evaluation.labels, evaluation.predictions, labels=labels, zero_division=np.nan
    )
    found = np.bincount(evaluation.labels[evaluation.predictions == evaluation.labels], minlength=len(labels))
    return [
        ClassScore(
            label=label,
            support=int(support),
            precision=float(precision),
            recall=float(recall),
            f1=float(f1),
            recall_interval=wilson_interval(int(found[label]), int(support)),
        )
        for label, (precision, recall, f1, support) in enumerate(zip(*columns, strict=True))
    ]


def confusions(evaluation: Evaluation) -> np.ndarray:
    """Returns how often each class is taken for each, `(true, predicted)`.

    Args:
        evaluation: What a model says of images.
    """
    from sklearn.metrics import confusion_matrix

    counts: np.ndarray = confusion_matrix(
        evaluation.labels, evaluation.predictions, labels=np.arange(evaluation.probabilities.shape[1])
    )
    return counts


def confused_pairs(counts: np.ndarray) -> list[tuple[int, int, int]]:
    """Returns which class is taken for which other, and how often; the most frequent first.

    Args:
        counts: What `confusions` returned.

    Example:
        >>> confused_pairs(np.array([[5, 1], [3, 5]]))
        [(1, 0, 3), (0, 1, 1)]
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    return [(int(rows[at]), int(columns[at]), int(wrong[rows[at], columns[at]])) for at in order]


def confident_mistakes(evaluation: Evaluation) -> np.ndarray:
    """Returns the places of the images that are wrong, the surest mistake first.

    Args:
        evaluation: What a model says of images.
    """
    wrong = np.flatnonzero(evaluation.predictions != evaluation.labels)
    order: np.ndarray = wrong[np.argsort(-evaluation.probabilities[wrong].max(axis=1), kind="stable")]
    return order


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Images of which a model is about equally sure.

    Args:
        count: How many.
        right: How many of them are right.
        confidence: The mean probability of the likeliest class.
    """

    count: int
    right: int
    confidence: float


def calibration_bins(evaluation: Evaluation) -> list[CalibrationBin]:
    """Returns the images by how sure the model is, in 15 steps of equal width; steps without an image are left out.

    Args:
        evaluation: What a model says of images.
    """
    confidences = evaluation.probabilities.max(axis=1)
    right = evaluation.predictions == evaluation.labels
    places = np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    chosen = (places == place for place in np.unique(places))
    return [
        CalibrationBin(count=int(of.sum()), right=int(right[of].sum()), confidence=float(confidences[of].mean()))
        for of in chosen
    ]


def expected_calibration_error(evaluation: Evaluation) -> float:
    """Returns how far what a model is sure of is from what it has right, on average over its images, a fraction.

    Paper: Guo et al. 2017, arXiv 1706.04599, section 2, equation 3; with 15 bins, as there.

    Args:
        evaluation: What a model says of images.
    """
    bins = calibration_bins(evaluation)
    count = sum(one.count for one in bins)
    return sum(abs(one.right - one.count * one.confidence) for one in bins) / count
