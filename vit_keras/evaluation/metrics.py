"""Metrics of a classifier: accuracy, loss, scores per class, confusion, calibration."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

CALIBRATION_BINS = 15
TOP = 5  # classes of the top-5 accuracy
_LISTED = 20  # classes that `print` shows
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Precision, recall and F1 of one class."""

    label: int  # index into the class names
    support: int  # images of the class
    precision: float  # NaN where the class was never predicted
    recall: float  # NaN where the class has no images
    f1: float  # NaN where the class has no images and was never predicted
    recall_interval: tuple[float, float]  # 95 %


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The predictions of a model for labeled images, and the metrics computed from them.

    Args:
        probabilities: `(images, classes)`, float.
        labels: `(images,)`, the true class indices.
        class_names: Class names in the order of the outputs; empty for the class indices.

    Example:
        >>> evaluation = Evaluation(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), ("cat", "dog"))
        >>> print(evaluation)
        2 images: accuracy 50.00 % (95 % interval 9.5 to 90.5 %), loss 0.5108
        class                 images  precision   recall       F1
        dog                        1          -     0.0%     0.0%
        cat                        1      50.0%   100.0%    66.7%
    """

    task: ClassVar[str] = "single_label"

    probabilities: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()

    @cached_property
    def predictions(self) -> np.ndarray:
        """The predicted class index of each image."""
        predictions: np.ndarray = self.probabilities.argmax(axis=1)
        return predictions

    @property
    def accuracy(self) -> float:
        """Fraction of the images whose prediction is correct."""
        return float((self.predictions == self.labels).mean())

    @property
    def top5_accuracy(self) -> float:
        """Fraction of the images whose true class is among the five most probable."""
        top = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :TOP]
        return float((top == self.labels[:, None]).any(axis=1).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats per image."""
        chosen = self.probabilities[np.arange(len(self.labels)), self.labels]
        return float(-np.log(np.maximum(chosen, np.finfo("float64").tiny)).mean())

    @cached_property
    def classes(self) -> list[ClassScore]:
        """Precision, recall and F1 per class, in the order of the outputs."""
        return class_scores(self)

    def summary(self) -> dict[str, float]:
        """Returns the most important metric by its name."""
        return {"accuracy": self.accuracy}

    def to_dict(self) -> dict[str, Any]:
        """Returns all metrics as plain data; what is not defined is None."""
        return {
            "images": len(self.labels),
            "accuracy": self.accuracy,
            "top5_accuracy": self.top5_accuracy,
            "loss": self.loss,
            "expected_calibration_error": expected_calibration_error(self),
            "classes": [
                {
                    "name": self._name(score.label),
                    "images": score.support,
                    **{
                        name: None if math.isnan(value) else value
                        for name, value in (("precision", score.precision), ("recall", score.recall), ("f1", score.f1))
                    },
                }
                for score in self.classes
            ],
        }

    def __str__(self) -> str:
        count = len(self.labels)
        low, high = wilson_interval(int((self.predictions == self.labels).sum()), count)
        top5 = f", top-5 accuracy {100 * self.top5_accuracy:.2f} %" if self.probabilities.shape[1] > TOP else ""
        lines = [
            f"{count:,} image{'s' * (count != 1)}: accuracy {100 * self.accuracy:.2f} % "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %){top5}, loss {self.loss:.4f}",
            f"{'class':20} {'images':>7} {'precision':>10} {'recall':>8} {'F1':>8}",
        ]
        ranked = sorted(self.classes, key=lambda score: (math.isnan(score.recall), score.recall))
        for score in ranked[:_LISTED]:
            precision, recall, f1 = (
                "-" if math.isnan(value) else f"{value:.1%}" for value in (score.precision, score.recall, score.f1)
            )
            lines.append(f"{self._name(score.label):20} {score.support:7,} {precision:>10} {recall:>8} {f1:>8}")
        if len(ranked) > _LISTED:
            lines.append(f"and {len(ranked) - _LISTED:,} more classes")
        return "\n".join(lines)

    __repr__ = __str__

    def _name(self, label: int) -> str:
        return self.class_names[label] if self.class_names else str(label)


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of a fraction, by Wilson's score; (0, 1) for no images.

    Unlike the normal approximation it stays within 0 and 1 and holds for few images and for fractions near 0 and 1 (Wilson 1927;
    Brown, Cai and DasGupta 2001).
    """
    if count == 0:
        return 0.0, 1.0
    share, spread = right / count, _Z**2 / count
    middle = share + spread / 2
    reach = _Z * math.sqrt((share * (1 - share) + spread / 4) / count)
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    return (0.0 if right == 0 else low), (1.0 if right == count else high)  # exact in spite of rounding


def class_scores(evaluation: Evaluation) -> list[ClassScore]:
    """Returns the scores of every class, in the order of the outputs."""
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
    """Returns the confusion matrix: counts by (true class, predicted class)."""
    from sklearn.metrics import confusion_matrix

    counts: np.ndarray = confusion_matrix(
        evaluation.labels, evaluation.predictions, labels=np.arange(evaluation.probabilities.shape[1])
    )
    return counts


def confused_pairs(counts: np.ndarray) -> list[tuple[int, int, int]]:
    """Returns (true class, predicted class, count) of all errors in a confusion matrix, the most frequent first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    return [(int(rows[at]), int(columns[at]), int(wrong[rows[at], columns[at]])) for at in order]


def confident_mistakes(evaluation: Evaluation) -> np.ndarray:
    """Returns the indices of the images with a wrong prediction, the most confident error first."""
    wrong = np.flatnonzero(evaluation.predictions != evaluation.labels)
    order: np.ndarray = wrong[np.argsort(-evaluation.probabilities[wrong].max(axis=1), kind="stable")]
    return order


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """The images whose confidence lies in one interval."""

    count: int
    right: int  # correct images
    confidence: float  # mean probability of the predicted class


def calibration_bins(evaluation: Evaluation) -> list[CalibrationBin]:
    """Returns the images in 15 intervals of confidence of equal width; empty intervals are left out."""
    confidences = evaluation.probabilities.max(axis=1)
    right = evaluation.predictions == evaluation.labels
    bins = np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    members = (bins == number for number in np.unique(bins))
    return [
        CalibrationBin(
            count=int(chosen.sum()), right=int(right[chosen].sum()), confidence=float(confidences[chosen].mean())
        )
        for chosen in members
    ]


def expected_calibration_error(evaluation: Evaluation) -> float:
    """Returns the mean difference between confidence and accuracy, a fraction.

    Paper: Guo et al. 2017, arXiv 1706.04599, section 2, equation 3; with 15 bins, as there.
    """
    bins = calibration_bins(evaluation)
    count = sum(each.count for each in bins)
    return sum(abs(each.right - each.count * each.confidence) for each in bins) / count
