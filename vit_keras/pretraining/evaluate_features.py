"""Measures the features of an encoder without training it: `vk.evaluate_features`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from vit_keras.data import ImageData, load
from vit_keras.data.split_names import SPLITS
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import check_positive
from vit_keras.models.vit import vit
from vit_keras.models.wiring import read_model
from vit_keras.pretraining.collapse import effective_rank, uniformity
from vit_keras.reporting.text import plural
from vit_keras.runtime.precision import dtype_policy
from vit_keras.runtime.random_state import random_state
from vit_keras.training.transfer.features import extract_features
from vit_keras.training.transfer.linear_probe import linear_probe
from vit_keras.training.transfer.nearest_neighbors import KNNClassifier
from vit_keras.zoo.load_model import open_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENCODER, RANDOM = "encoder", "random weights"
"""Names of the rows of the table."""

_EVALUATED = ("test", "validation")  # splits, the first that the data have by default
_POINTS = 2000  # of a plot
_COLORS = 10  # of matplotlib's color cycle


@dataclass(frozen=True, kw_only=True)
class FeatureScores:
    """What the features of one encoder are worth.

    Args:
        knn_accuracy: Fraction of the images that a k-nearest-neighbors classifier gets right; None without classes.
        linear_accuracy: Fraction that a linear probe gets right; None without classes.
        rank: RankMe, from 1 to the width of the features.
        uniformity: Wang and Isola's, from -4 to 0, which means that all features are the same.
    """

    knn_accuracy: float | None
    linear_accuracy: float | None
    rank: float
    uniformity: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FeatureEvaluation:
    """The measures of an encoder's features, and of the same architecture with random weights; `print` shows a table.

    Args:
        scores: By row: "encoder", and "random weights" where they were compared.
        images: Images that were classified.
        training_images: Images that the classifiers know.
        split: Name of the split of the classified images.
        dim: Width of the features.
        class_names: Names of the classes; empty where the images have no single class.
        features: `(images, dim)`, of the encoder, float32.
        labels: `(images,)`, class indices; empty without classes.
    """

    scores: dict[str, FeatureScores]
    images: int
    training_images: int
    split: str
    dim: int
    class_names: tuple[str, ...]
    features: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the measures as plain data."""
        counts = {
            "images": self.images,
            "training_images": self.training_images,
            "split": self.split,
            "dim": self.dim,
            "classes": len(self.class_names),
        }
        return {**counts, **{name: asdict(scores) for name, scores in self.scores.items()}}

    def __str__(self) -> str:
        heads, rows = self._table()
        lines = [f"{row[0]:16}" + "".join(f"{cell:>14}" for cell in row[1:]) for row in (heads, *rows)]
        return "\n".join([self._title(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from vit_keras.reporting import notebook
        from vit_keras.reporting.pages import table

        heads, rows = self._table()
        return notebook.title(self._title()) + table(heads, rows, numbers=range(1, len(heads)))

    def _title(self) -> str:
        classes = f", {plural(len(self.class_names), 'class', 'classes')}" if self.class_names else ""
        return f"{self.images:,} {self.split} images by {self.training_images:,} training images{classes}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        heads = ["features", "kNN", "linear probe", f"rank of {self.dim}", "uniformity"]
        rows = [
            [
                name,
                *("-" if value is None else f"{value:.2%}" for value in (scores.knn_accuracy, scores.linear_accuracy)),
                f"{scores.rank:.1f}",
                f"{scores.uniformity:.3f}",
            ]
            for name, scores in self.scores.items()
        ]
        return heads, rows

    def plot(self, *, method: str = "pca") -> "Figure":
        """Returns a figure with a point per image, colored by class; a notebook shows it.

        Args:
            method: "pca" for the two principal components of the features; "umap" for the projection of the package `umap-learn`.

        Raises:
            InvalidArgumentError: The method is unknown, or its package is not installed; the features have fewer than two dimensions.
        """
        from vit_keras.reporting.pictures import Picture

        chosen = np.linspace(0, self.images - 1, min(self.images, _POINTS)).astype(int)
        points, axis = _project(self.features[chosen], method)
        figure = Picture(6, 4.5)
        axes = figure.add_subplot()
        if self.class_names:
            labels = self.labels[chosen]
            for index in np.unique(labels):
                here, marker = labels == index, "ov^sD*"[index // _COLORS % 6]
                axes.scatter(
                    points[here, 0],
                    points[here, 1],
                    s=9,
                    label=self.class_names[index],
                    color=f"C{index % _COLORS}",
                    marker=marker,
                )
            if len(self.class_names) <= 2 * _COLORS:
                axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
        else:
            axes.scatter(points[:, 0], points[:, 1], s=9)
        axes.set(xticks=[], yticks=[], xlabel=axis.format(1), ylabel=axis.format(2))
        return figure


def evaluate_features(
    encoder: keras.Model | str | Path,
    data: Any,
    *,
    compare_with_random: bool = True,
    split: str | None = None,
    k: int = 20,
    seed: int = 0,
    batch_size: int = 256,
    cache: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureEvaluation:
    """Measures the features that a model's head gets: by nearest neighbors, by a linear probe, and by how many directions they use.

    Nothing is trained but the probe. Each measure is also computed with random weights of the same architecture: features that are no
    better than those were not worth the pre-training. The penalty of the probe is chosen on validation images, or by cross-validation
    of the training images where the validation images are classified.

    Args:
        encoder: A model of this library, with a head or without, or what `vk.load_model` takes: a run directory, a preset's
            `NAME:TAG`, a preset directory.
        data: What `vk.data.load` takes or returns. Of multi-label images and of numbers, only rank and uniformity are measured.
        compare_with_random: Whether random weights are measured, too.
        split: "test" or "validation", whose images are classified; None for test images, where the data have them.
        k: Largest number of neighbors.
        seed: Of the random weights, and of the splits of data that have none.
        batch_size: Images per step.
        cache: Folder that keeps features; None for no files.
        on_progress: Called with the number of images done and of all images.

    Raises:
        DataError: The data can't be read, or don't fit the model.
        InvalidArgumentError: An argument is not legal, or `vit` did not make the model.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
        >>> images = np.repeat(np.array([0, 255], "uint8"), 20)[:, None, None, None] * np.ones((16, 16, 3), "uint8")
        >>> found = evaluate_features(vit(config), (images, np.repeat(["dark", "bright"], 20)))
        >>> found.scores["encoder"].knn_accuracy, list(found.scores)
        (1.0, ['encoder', 'random weights'])
    """
    check_positive("evaluate_features", k=k, batch_size=batch_size)
    if split not in (None, *_EVALUATED):
        raise InvalidArgumentError(f"split must be one of {', '.join(_EVALUATED)}, got {split!r}.")
    opened = open_model(encoder)
    if not isinstance(data, ImageData):
        data = load(data, preprocessing=opened.preprocessing, seed=seed)
    split = split or next(name for name in _EVALUATED if name in data.splits)
    if split not in data.splits:
        raise InvalidArgumentError(f'{data.name} has no {split} split: pass split="validation", or other data.')
    models = {ENCODER: opened.model} | ({RANDOM: _randomize(opened.model, seed)} if compare_with_random else {})
    wanted = [name for name in SPLITS if name in ("train", "validation", split)]
    total, done = len(models) * sum(len(data.splits[name]) for name in wanted), 0
    scores, kept = {}, np.empty((0, 0))
    for name, model in models.items():
        features = {}
        for part in wanted:
            report = None if on_progress is None else _shift(on_progress, done, total)
            features[part] = extract_features(
                model, data.splits[part], batch_size=batch_size, cache=cache, on_progress=report
            )
            done += len(features[part])
        scores[name] = _score(features, data, split, k)
        kept = features[split] if name == ENCODER else kept
    has_classes = data.task == "single_label"
    return FeatureEvaluation(
        scores=scores,
        images=len(kept),
        training_images=len(data.splits["train"]),
        split=split,
        dim=kept.shape[1],
        class_names=data.class_names if has_classes else (),
        features=kept,
        labels=np.asarray(data.splits[split].labels) if has_classes else np.empty(0, "int32"),
    )


def _randomize(model: keras.Model, seed: int) -> keras.Model:
    """Returns an encoder of the same architecture and precision with random weights."""
    parts = read_model(model)
    with random_state(seed), dtype_policy(parts.blocks[0].dtype_policy.name):
        return vit(parts.config)


def _shift(on_progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: on_progress(before + done, total)


def _score(features: dict[str, np.ndarray], data: ImageData, split: str, k: int) -> FeatureScores:
    knn = linear = None
    if data.task == "single_label":
        labels = {name: np.asarray(data.splits[name].labels) for name in features}
        count = len(data.class_names)
        classifier = KNNClassifier(features["train"], labels["train"], num_classes=count, k=k)
        knn = classifier.accuracy(features[split], labels[split])
        held_out = () if split == "validation" else (features["validation"], labels["validation"])
        probe = linear_probe(features["train"], labels["train"], *held_out, num_classes=count)
        linear = probe.accuracy(features[split], labels[split])
    return FeatureScores(
        knn_accuracy=knn,
        linear_accuracy=linear,
        rank=effective_rank(features[split]),
        uniformity=uniformity(features[split]),
    )


def _project(features: np.ndarray, method: str) -> tuple[np.ndarray, str]:
    """Returns two coordinates per image, and the label of an axis."""
    if method not in ("pca", "umap"):
        raise InvalidArgumentError(f'method must be "pca" or "umap", got {method!r}.')
    if min(features.shape) < 2:
        raise InvalidArgumentError(
            f"A plot needs two images and two dimensions at least; the features are {features.shape}."
        )
    if method == "umap":
        try:
            from umap import UMAP
        except ImportError as error:
            raise InvalidArgumentError(
                'method="umap" needs the package umap-learn: pip install umap-learn, or use method="pca".'
            ) from error
        return UMAP(random_state=0).fit_transform(features), "UMAP {}"
    centered = features - features.mean(axis=0, dtype="float64")
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    return left[:, :2] * values[:2], "principal component {}"
