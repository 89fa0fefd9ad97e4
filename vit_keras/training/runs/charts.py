"""Charts of a training run, for its report."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vit_keras.evaluation.metrics import CalibrationBin, wilson_interval
from vit_keras.reporting.charts import ACCENT, INK, SECOND, new_chart, svg

_DOTS = 30  # epochs up to which each gets a dot
_SCATTERED = 2000  # images in a scatter plot
_LONGEST_NAME = 40


def draw_curve(history: Sequence[Mapping[str, float]], name: str) -> str:
    """Returns a chart of a metric by epoch, for training and, if there is one, validation."""
    epochs = [row.get("epoch", place) for place, row in enumerate(history, start=1)]
    figure, axes = new_chart(name.replace("_", " "), "epoch")
    marker = "." if len(history) <= _DOTS else ""
    for key, label, color in ((name, "training", ACCENT), (f"val_{name}", "validation", SECOND)):
        if any(key in row for row in history):
            axes.plot(epochs, [row.get(key, math.nan) for row in history], color=color, label=label, marker=marker)
    if len(axes.lines) > 1:
        axes.legend(frameon=False, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    _add_grid(axes)
    return svg(figure)


def draw_reliability(bins: Sequence[CalibrationBin]) -> str:
    """Returns a reliability diagram: accuracy by confidence; a calibrated model is on the diagonal."""
    figure, axes = new_chart("accuracy", "confidence")
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.35, linewidth=0.8)
    counts = np.asarray([one.count for one in bins])
    sure = [one.confidence for one in bins]
    for place, one in zip(sure, bins, strict=True):
        axes.plot([place, place], wilson_interval(one.right, one.count), color=ACCENT, alpha=0.45, linewidth=1.5)
    shares = [one.right / one.count for one in bins]
    axes.scatter(sure, shares, s=12 + 220 * counts / counts.sum(), color=ACCENT, linewidths=0, zorder=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    _add_grid(axes)
    return svg(figure)


def draw_precision_recall(labels: np.ndarray, probabilities: np.ndarray, *, threshold: float, name: str) -> str:
    """Returns the precision-recall curve of a class, with the chosen threshold as a dot."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = new_chart("precision", "recall")
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    axes.plot(recall, precision, color=ACCENT, drawstyle="steps-post")
    axes.axhline(labels.mean(), color=INK, alpha=0.35, linewidth=0.8, linestyle="--")
    chosen = probabilities >= threshold
    if chosen.any():
        right = int((chosen & (labels > 0)).sum())
        axes.scatter([right / labels.sum()], [right / chosen.sum()], color=SECOND, zorder=3)
    axes.set_title(shorten(name), color=INK, fontsize=10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    _add_grid(axes)
    return svg(figure)


def draw_scatter(labels: np.ndarray, predictions: np.ndarray, name: str) -> str:
    """Returns a chart of predictions by labels, with the line on which they are equal; of many images, a random part."""
    figure, axes = new_chart("prediction", "label")
    plot_scatter(axes, labels, predictions)
    axes.set_title(shorten(name), color=INK, fontsize=10)
    _add_grid(axes)
    return svg(figure)


def plot_scatter(axes: Axes, labels: np.ndarray, predictions: np.ndarray) -> None:
    """Plots predictions by labels, with the line on which they are equal."""
    if len(labels) > _SCATTERED:
        chosen = np.random.default_rng(0).choice(len(labels), _SCATTERED, replace=False)
        labels, predictions = labels[chosen], predictions[chosen]
    ends = [min(labels.min(), predictions.min()), max(labels.max(), predictions.max())]
    axes.plot(ends, ends, color=INK, alpha=0.5, linewidth=0.8)
    axes.scatter(labels, predictions, s=10, color=ACCENT, alpha=0.6, linewidths=0)


def draw_errors(errors: np.ndarray, name: str) -> str:
    """Returns a histogram of prediction minus label."""
    figure, axes = new_chart("images", "prediction minus label")
    axes.hist(errors, bins=min(40, max(5, int(np.sqrt(len(errors))))), color=ACCENT)
    axes.axvline(0, color=INK, alpha=0.5, linewidth=0.8)
    axes.set_title(shorten(name), color=INK, fontsize=10)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _add_grid(axes)
    return svg(figure)


def shorten(name: str) -> str:
    """Returns a name that fits above a chart; `$` would start a formula."""
    return (name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "...").replace("$", r"\$")


def _add_grid(axes: Axes) -> None:
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
