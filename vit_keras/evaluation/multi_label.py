"""Metrics of a multi-label model: average precision, and precision, recall and F1 at a threshold."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

_LISTED = 20  # classes that `print` shows
_THRESHOLDS = np.arange(1, 100) / 100  # that `choose_threshold` compares


@dataclass(frozen=True, kw_only=True)
class MultiLabelScore:
    """The scores of one class."""

    label: int  # index into the class names
    support: int  # images that have the class
    average_precision: float  # area under the precision-recall curve; NaN where no image has the class
    precision: float  # NaN where the class was never predicted
    recall: float  # NaN where no image has the class
    f1: float  # NaN where the class was never predicted and no image has it


@dataclass(frozen=True, eq=False, repr=False)
class MultiLabelEvaluation:
    """The predictions of a multi-label model for labeled images, and the metrics computed from them.

    Args:
        probabilities: `(images, classes)`, float, each class by itself.
        labels: `(images, classes)`, 0 or 1.
        class_names: Class names in the order of the outputs; empty for the class indices.
        threshold: The probability from which on an image is predicted to have a class.

    Example:
        >>> probabilities, labels = np.array([[0.9, 0.2], [0.6, 0.7], [0.1, 0.4]]), np.array([[1, 0], [0, 1], [0, 1]])
        >>> print(MultiLabelEvaluation(probabilities, labels, ("cat", "dog")))
        3 images: mean average precision 100.00 %, macro F1 66.67 %, micro F1 66.67 % (threshold 0.50), loss 0.4372
        class                 images  avg. prec.  precision   recall       F1
        cat                        1      100.0%      50.0%   100.0%    66.7%
        dog                        2      100.0%     100.0%    50.0%    66.7%
    """

    task: ClassVar[str] = "multi_label"

    probabilities: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    threshold: float = 0.5

    @cached_property
    def predictions(self) -> np.ndarray:
        """Which classes each image is predicted to have, `(images, classes)`, bool."""
        predictions: np.ndarray = self.probabilities >= self.threshold
        return predictions

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes, of those that any image has, of the average precision."""
        return _mean([score.average_precision for score in self.classes])

    @property
    def macro_f1(self) -> float:
        """Mean over the classes of F1 at the threshold, of those that any image has or is predicted to have."""
        return _mean([score.f1 for score in self.classes])

    @property
    def micro_f1(self) -> float:
        """F1 of all pairs of image and class at the threshold."""
        right = int((self.predictions & (self.labels > 0)).sum())
        total = int(self.predictions.sum()) + int(self.labels.sum())
        return 2 * right / total if total else math.nan

    @property
    def exact_match(self) -> float:
        """Fraction of the images whose predicted classes are exactly the true ones."""
        return float((self.predictions == (self.labels > 0)).all(axis=1).mean())

    @property
    def loss(self) -> float:
        """Mean sigmoid cross-entropy, nats per image and class."""
        chosen = np.where(self.labels > 0, self.probabilities, 1 - self.probabilities)
        return float(-np.log(np.maximum(chosen, np.finfo("float64").tiny)).mean())

    @cached_property
    def classes(self) -> list[MultiLabelScore]:
        """The scores per class, in the order of the outputs."""
        from sklearn.metrics import average_precision_score, precision_recall_fscore_support

        columns = precision_recall_fscore_support(self.labels, self.predictions, average=None, zero_division=np.nan)
        return [
            MultiLabelScore(
                label=label,
                support=int(support),
                average_precision=(
                    float(average_precision_score(self.labels[:, label], self.probabilities[:, label]))
                    if support
                    else math.nan
                ),
                precision=float(precision),
                recall=float(recall),
                f1=float(f1),
            )
            for label, (precision, recall, f1, support) in enumerate(zip(*columns, strict=True))
        ]

    def summary(self) -> dict[str, float]:
        """Returns the most important metrics by name, the first first."""
        return {
            "mean_average_precision": self.mean_average_precision,
            "macro_f1": self.macro_f1,
            "micro_f1": self.micro_f1,
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns all metrics as plain data; what is not defined is None."""
        return {
            "task": self.task,
            "images": len(self.labels),
            **{name: _none(value) for name, value in self.summary().items()},
            "threshold": self.threshold,
            "exact_match": self.exact_match,
            "loss": self.loss,
            "classes": [
                {
                    "name": self.name(score.label),
                    "images": score.support,
                    **{
                        name: _none(getattr(score, name)) for name in ("average_precision", "precision", "recall", "f1")
                    },
                }
                for score in self.classes
            ],
        }

    def __str__(self) -> str:
        count = len(self.labels)
        lines = [
            f"{count:,} image{'s' * (count != 1)}: mean average precision {100 * self.mean_average_precision:.2f} %, macro F1 "
            f"{100 * self.macro_f1:.2f} %, micro F1 {100 * self.micro_f1:.2f} % (threshold {self.threshold:.2f}), loss {self.loss:.4f}",
            f"{'class':20} {'images':>7} {'avg. prec.':>11} {'precision':>10} {'recall':>8} {'F1':>8}",
        ]
        ranked = sorted(self.classes, key=lambda score: (math.isnan(score.average_precision), score.average_precision))
        for score in ranked[:_LISTED]:
            values = (score.average_precision, score.precision, score.recall, score.f1)
            average, precision, recall, f1 = ("-" if math.isnan(value) else f"{value:.1%}" for value in values)
            lines.append(
                f"{self.name(score.label):20} {score.support:7,} {average:>11} {precision:>10} {recall:>8} {f1:>8}"
            )
        if len(ranked) > _LISTED:
            lines.append(f"and {len(ranked) - _LISTED:,} more classes")
        return "\n".join(lines)

    __repr__ = __str__

    def name(self, label: int) -> str:
        """Returns the name of a class."""
        return self.class_names[label] if self.class_names else str(label)


def choose_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the threshold from 0.01 to 0.99 with the best macro F1 of images that were not trained on; of equals, the nearest to 0.5.

    One threshold for all classes: one per class would fit the noise where a class has few images.
    """
    has = labels > 0
    scores = []
    for threshold in _THRESHOLDS:
        predicted = probabilities >= threshold
        right, total = (predicted & has).sum(axis=0), predicted.sum(axis=0) + has.sum(axis=0)
        present = has.any(axis=0)
        scores.append(float((2 * right[present] / total[present]).mean()) if present.any() else 0.0)
    best = max(range(len(scores)), key=lambda place: (round(scores[place], 12), -abs(_THRESHOLDS[place] - 0.5)))
    return float(_THRESHOLDS[best])


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
