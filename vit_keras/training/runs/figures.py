"""Draws the PNG figures of a run."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_keras.data import EncodedSplit, Split
from vit_keras.data.images.preprocess import to_image
from vit_keras.data.tasks import METRICS
from vit_keras.evaluation.evaluate import AnyEvaluation
from vit_keras.evaluation.metrics import Evaluation, confusions
from vit_keras.evaluation.multi_label import MultiLabelEvaluation
from vit_keras.evaluation.regression import RegressionEvaluation
from vit_keras.training.runs.charts import plot_scatter, shorten

_CORRECT, _WRONG = "#1a7f37", "#c62828"
_MAX_CLASSES = 30  # up to which a confusion matrix shows counts
_MAX_BARS, _MAX_TARGETS = 60, 9


def draw_learning_curves(metrics: Path, out: Path) -> None:
    """Draws the loss and the first metric by epoch, for training and validation."""
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = [float(row["epoch"]) for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    metric = next((name for name in METRICS.values() if rows and name in rows[0]), METRICS["single_label"])
    for axes, name in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        for key, label in ((name, "training, augmented"), (f"val_{name}", "validation")):
            if rows and key in rows[0]:
                axes.plot(epochs, [float(row[key] or "nan") for row in rows], marker=".", label=label)
        axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, out)


def draw_confusion_matrix(evaluation: Evaluation, class_names: tuple[str, ...], out: Path) -> None:
    """Draws how often each class is predicted as each other class."""
    counts = confusions(evaluation)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(3 + 0.6 * len(class_names), 6, 24))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=45, ha="right")
    axes.set_yticks(ticks, class_names)
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"Accuracy {evaluation.accuracy:.1%} of {len(evaluation.labels)} images",
    )
    if len(class_names) <= _MAX_CLASSES:
        for row, column in np.ndindex(*counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=9)
    _save(figure, out)


def draw_predictions(
    split: Split | EncodedSplit, evaluation: Evaluation, class_names: tuple[str, ...], out: Path
) -> None:
    """Draws test images with their predictions: up to four rows of correct and four of wrong ones."""
    rng = np.random.default_rng(0)
    correct = evaluation.predictions == evaluation.labels
    columns, most_rows = 8, 4
    chosen = [rng.permutation(np.flatnonzero(kind))[: columns * most_rows] for kind in (correct, ~correct)]
    rows = [max(1, -(-len(indices) // columns)) for indices in chosen]
    figure = Figure(figsize=(columns * 1.55, sum(rows) * 1.75), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=rows)
    for half, indices, height, title, color in zip(
        halves, chosen, rows, ("correct", "wrong"), (_CORRECT, _WRONG), strict=True
    ):
        half.suptitle(f"{title}: {(correct if title == 'correct' else ~correct).sum()} of {len(correct)}", color=color)
        grid = half.add_gridspec(height, columns)
        for place, index in enumerate(indices):
            axes = half.add_subplot(grid[place // columns, place % columns])
            axes.axis("off")
            axes.imshow(split.picture(index).squeeze(), cmap="gray", vmin=0, vmax=255)
            predicted, true = evaluation.predictions[index], evaluation.labels[index]
            words = f"{class_names[predicted]} {evaluation.probabilities[index, predicted]:.0%}"
            axes.set_title(words if title == "correct" else f"{words}\nis {class_names[true]}", fontsize=7, color=color)
    _save(figure, out)


def save_example(split: Split | EncodedSplit, out: Path) -> None:
    """Writes the first image of a split as the model sees it, to try the model on."""
    to_image(np.asarray(split.picture(0)).clip(0, 255).astype("uint8")).save(out)


def draw_figures(
    folder: Path, split: Split | EncodedSplit, evaluation: AnyEvaluation, class_names: tuple[str, ...]
) -> None:
    """Draws what suits the task of the labels: a confusion matrix and predictions, scores per class, or predictions by labels."""
    if isinstance(evaluation, MultiLabelEvaluation):
        draw_class_scores(evaluation, folder / "classes.png")
    elif isinstance(evaluation, RegressionEvaluation):
        draw_scatters(evaluation, folder / "scatter.png")
    else:
        draw_confusion_matrix(evaluation, class_names, folder / "confusion_matrix.png")
        draw_predictions(split, evaluation, class_names, folder / "predictions.png")


def draw_class_scores(evaluation: MultiLabelEvaluation, out: Path) -> None:
    """Draws the average precision of each class, of many the lowest."""
    known = [score for score in evaluation.classes if score.support]
    chosen = sorted(known, key=lambda score: -score.average_precision)[-_MAX_BARS:]
    figure = Figure(figsize=(8, 1.5 + 0.3 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(chosen)), [score.average_precision for score in chosen])
    axes.set_yticks(range(len(chosen)), [shorten(evaluation.name(score.label)) for score in chosen])
    axes.set(
        xlabel="average precision",
        xlim=(0, 1),
        title=f"Mean average precision {evaluation.mean_average_precision:.1%} of {len(evaluation.labels)} test images",
    )
    axes.grid(alpha=0.3, axis="x")
    _save(figure, out)


def draw_scatters(evaluation: RegressionEvaluation, out: Path) -> None:
    """Draws predictions by labels, a panel per target."""
    targets = evaluation.targets[:_MAX_TARGETS]
    columns = min(len(targets), 3)
    rows = -(-len(targets) // columns)
    figure = Figure(figsize=(4.5 * columns, 4.2 * rows), layout="constrained")
    panels = np.atleast_1d(np.asarray(figure.subplots(rows, columns))).flat
    for column, axes in enumerate(panels):
        if column >= len(targets):
            axes.axis("off")
            continue
        plot_scatter(axes, evaluation.labels[:, column], evaluation.predictions[:, column])
        target = targets[column]
        title = f"{shorten(target.name)}: R2 {target.r2:.3f}, MAE {target.mean_absolute_error:.3g}"
        axes.set(xlabel="label", ylabel="prediction", title=title)
        axes.grid(alpha=0.3)
    _save(figure, out)


def _save(figure: Figure, out: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(out)
