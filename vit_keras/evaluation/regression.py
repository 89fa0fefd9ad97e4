"""Metrics of a regression model: mean absolute error, root mean squared error and R2 of each target."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, kw_only=True)
class TargetScore:
    """The scores of one number that a model predicts, in the units of the labels."""

    name: str
    mean_absolute_error: float
    mean_absolute_error_interval: tuple[float, float]  # 95 %
    root_mean_squared_error: float
    r2: float  # 1 is perfect, 0 as good as the mean of the labels; NaN where all labels are equal
    bias: float  # mean of prediction minus label
    mean_baseline: float  # mean absolute error of predicting the mean of these labels


@dataclass(frozen=True, eq=False, repr=False)
class RegressionEvaluation:
    """The predictions of a regression model for labeled images, and the metrics computed from them.

    Args:
        predictions: `(images, targets)`, in the units of the labels.
        labels: `(images, targets)`.
        class_names: Names of the targets.

    Example:
        >>> print(RegressionEvaluation(np.array([[1.0], [3.0], [6.0]]), np.array([[1.0], [2.0], [6.0]]), ("age",)))
        3 images: R2 0.9286
        target                        MAE               95 %      RMSE       R2      bias
        age                        0.3333     0 to     0.867    0.5774   0.9286    0.3333
    """

    task: ClassVar[str] = "regression"

    predictions: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def r2(self) -> float:
        """Mean over the targets of R2."""
        return float(np.mean([target.r2 for target in self.targets]))

    @cached_property
    def targets(self) -> list[TargetScore]:
        """The scores per target, in the order of the outputs."""
        return [
            _score(name, predictions, labels)
            for name, predictions, labels in zip(
                self.class_names, self.predictions.T.astype("float64"), self.labels.T.astype("float64"), strict=True
            )
        ]

    def summary(self) -> dict[str, float]:
        """Returns the most important metrics by name, the first first; errors of several targets with their names."""
        scores: dict[str, float] = {"r2": self.r2}
        for target in self.targets:
            name = f" of {target.name}" if len(self.targets) > 1 else ""
            scores[f"mean_absolute_error{name}"] = target.mean_absolute_error
            scores[f"root_mean_squared_error{name}"] = target.root_mean_squared_error
        return scores

    def to_dict(self) -> dict[str, Any]:
        """Returns all metrics as plain data; what is not defined is None."""
        return {
            "task": self.task,
            "images": len(self.labels),
            "r2": None if math.isnan(self.r2) else self.r2,
            "targets": [
                {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in vars(target).items()
                }
                for target in self.targets
            ],
        }

    def __str__(self) -> str:
        count = len(self.labels)
        lines = [
            f"{count:,} image{'s' * (count != 1)}: R2 {self.r2:.4f}",
            f"{'target':24} {'MAE':>8} {'95 %':>18} {'RMSE':>9} {'R2':>8} {'bias':>9}",
        ]
        for target in self.targets:
            low, high = target.mean_absolute_error_interval
            lines.append(
                f"{target.name:24} {target.mean_absolute_error:8.4g} {low:5.3g} to {high:9.3g} "
                f"{target.root_mean_squared_error:9.4g} {target.r2:8.4f} {target.bias:9.4g}"
            )
        return "\n".join(lines)

    __repr__ = __str__


def _score(name: str, predictions: np.ndarray, labels: np.ndarray) -> TargetScore:
    errors = predictions - labels
    sizes = np.abs(errors)
    reach = _Z * float(sizes.std()) / math.sqrt(len(sizes))
    spread = float(((labels - labels.mean()) ** 2).sum())
    mean = float(sizes.mean())
    return TargetScore(
        name=name,
        mean_absolute_error=mean,
        mean_absolute_error_interval=(max(0.0, mean - reach), mean + reach),
        root_mean_squared_error=float(np.sqrt((errors**2).mean())),
        r2=1 - float((errors**2).sum()) / spread if spread > 0 else math.nan,
        bias=float(errors.mean()),
        mean_baseline=float(np.abs(labels - labels.mean()).mean()),
    )


def largest_errors(evaluation: RegressionEvaluation) -> np.ndarray:
    """Returns the indices of the images, the one with the largest error first; several targets are compared by their spread."""
    scale = np.maximum(evaluation.labels.std(axis=0), np.finfo("float32").tiny)
    sizes = (np.abs(evaluation.predictions - evaluation.labels) / scale).max(axis=1)
    order: np.ndarray = np.argsort(-sizes, kind="stable")
    return order
