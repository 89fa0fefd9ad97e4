"""Draws the PNG figures of a run."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_keras.data import EncodedSplit, Split
from vit_keras.data.images.preprocess import to_image
from vit_keras.evaluation.metrics import Evaluation, confusions

_CORRECT, _WRONG = "#1a7f37", "#c62828"
_MAX_CLASSES = 30  # up to which a confusion matrix shows counts


def draw_learning_curves(metrics: Path, out: Path) -> None:
    """Draws loss and accuracy by epoch, for training and validation."""
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = [float(row["epoch"]) for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label in ((name, "training, augmented"), (f"val_{name}", "validation")):
            if rows and key in rows[0]:
                axes.plot(epochs, [float(row[key] or "nan") for row in rows], marker=".", label=label)
        axes.set(xlabel="epoch", ylabel=name)
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
        title=f"Test accuracy {evaluation.accuracy:.1%} of {len(evaluation.labels)} images",
    )
    if len(class_names) <= _MAX_CLASSES:
        for row, column in np.ndindex(*counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=9)
    _save(figure, out)


def draw_predictions(
    split: Split | EncodedSplit, evaluation: Evaluation, class_names: tuple[str, ...], out: Path
) -> None:
    """Draws test images with their predictions: four rows of correct and four of wrong ones."""
    rng = np.random.default_rng(0)
    correct = evaluation.predictions == evaluation.labels
    columns, rows = 8, 4
    chosen = [rng.permutation(np.flatnonzero(kind))[: columns * rows] for kind in (correct, ~correct)]
    figure = Figure(figsize=(columns * 1.55, rows * 2 * 1.75), layout="constrained")
    halves: Any = figure.subfigures(2, 1)
    for half, indices, title, color in zip(halves, chosen, ("correct", "wrong"), (_CORRECT, _WRONG), strict=True):
        half.suptitle(f"{title}: {(correct if title == 'correct' else ~correct).sum()} of {len(correct)}", color=color)
        for place, axes in enumerate(half.subplots(rows, columns).flat):
            axes.axis("off")
            if place >= len(indices):
                continue
            index = indices[place]
            axes.imshow(split.image(index).squeeze(), cmap="gray", vmin=0, vmax=255)
            predicted, true = evaluation.predictions[index], evaluation.labels[index]
            words = f"{class_names[predicted]} {evaluation.probabilities[index, predicted]:.0%}"
            axes.set_title(words if title == "correct" else f"{words}\nis {class_names[true]}", fontsize=7, color=color)
    _save(figure, out)


def save_example(split: Split | EncodedSplit, out: Path) -> None:
    """Writes the first image of a split as the model sees it, to try the model on."""
    to_image(np.asarray(split.image(0)).clip(0, 255).astype("uint8")).save(out)


def _save(figure: Figure, out: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(out)
