"""Collapse: measures of how different the features of different images are, and a callback that warns when they become equal."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from vit_keras.data import EncodedSplit, Split
from vit_keras.distributed.arrays import copy_weights
from vit_keras.distributed.cluster import process_count
from vit_keras.distributed.devices import one_device
from vit_keras.errors import EmptyDatasetError, InvalidArgumentError
from vit_keras.layers.base.checks import check_positive
from vit_keras.training.transfer.feature_checks import check_features, check_labels
from vit_keras.training.transfer.features import compute_features
from vit_keras.training.transfer.nearest_neighbors import KNNClassifier
from vit_keras.zoo.rebuild import rebuild

MEASURES = ("feature_rank", "feature_uniformity")
"""Names of the metrics of `CollapseMonitor`."""
KNN = "knn_accuracy"
"""Name of its metric with labels."""

_EPSILON = 1e-7  # RankMe's
_LARGEST = 10_000  # images that uniformity compares in pairs
_CHUNK = 1000
_COLLAPSED = -0.05  # uniformity above which the features of all images are nearly equal: they differ by about 6 degrees


def effective_rank(features: np.ndarray) -> float:
    """Returns RankMe: how many directions the features use, from 1 to their width; 0 for features of zeros.

    It is `exp(-sum of p log p)` of the singular values' shares `p`; the features are not centered. A constant feature therefore counts as
    one direction, and a large mean hides the others: compare runs of one method only.

    Paper: Garrido et al. 2023, arXiv 2210.02885, equation 1.

    Args:
        features: `(count, dim)`; the rank is at most `count`.

    Raises:
        DataError: They are no finite numbers of this shape.

    Example:
        >>> round(effective_rank(np.eye(4)), 2), round(effective_rank(np.ones((8, 4))), 2)
        (4.0, 1.0)
    """
    checked = check_features(features, "features").astype("float64")
    values = np.linalg.svd(checked, compute_uv=False)
    if values.sum() == 0:
        return 0.0
    shares = values / values.sum() + _EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def uniformity(features: np.ndarray) -> float:
    """Returns how evenly the directions of features cover the sphere: 0 where all are the same, about -4 where they are random.

    It is `log(mean(exp(-2 d^2)))` over the distances `d` of all pairs of different images, after scaling each to length 1.

    Paper: Wang and Isola 2020, arXiv 2005.10242, section 4.1.2.

    Args:
        features: `(count, dim)`, of at least two images; of more than 10,000, that many are compared.

    Raises:
        DataError: They are no finite numbers of this shape.
        EmptyDatasetError: There are fewer than two images.

    Example:
        >>> uniformity(np.array([[1.0, 0.0], [0.0, 2.0]]))
        -4.0
    """
    checked = check_features(features, "features").astype("float64")
    if len(checked) < 2:
        raise EmptyDatasetError("Uniformity compares images in pairs, so features of at least two images are needed.")
    if len(checked) > _LARGEST:
        checked = checked[np.linspace(0, len(checked) - 1, _LARGEST).astype(int)]
    lengths = np.linalg.norm(checked, axis=1, keepdims=True)
    units = checked / np.where(lengths > 0, lengths, 1)
    total = 0.0
    for start in range(0, len(units), _CHUNK):
        part = units[start : start + _CHUNK]
        squares = (part**2).sum(axis=1)[:, None] + (units**2).sum(axis=1) - 2 * part @ units.T
        kernel = np.exp(-2 * np.maximum(squares, 0))
        kernel[np.arange(len(part)), np.arange(start, start + len(part))] = 0  # no image is compared with itself
        total += float(kernel.sum())
    return float(np.log(total / (len(units) * (len(units) - 1))))


class CollapseMonitor(keras.callbacks.Callback):
    """Measures the features of the same images after the first epoch and every few epochs, as metrics, and warns once where they collapse.

    The metrics are `feature_rank` and `feature_uniformity`, and with labels `knn_accuracy`: one half of the images, classified by the
    nearest neighbors among the other half. Epochs in between keep the last values. It belongs before callbacks that write metrics.

    Args:
        encoder: A model without a head, whose weights are being trained.
        images: The images; at most `count` of them are used, always the same ones.
        labels: Their class indices, `(images,)`, for `knn_accuracy`; None without labels. The labels in `images` are ignored.
        every: Epochs between two measurements; the first and the last epoch are always measured.
        quiet: First epochs that cause no warning, such as the warm-up: features of random weights are nearly equal, too.
        count: Maximum number of images.
        batch_size: Images per step.

    Raises:
        EmptyDatasetError: There are fewer than two images.
        InvalidArgumentError: An argument is not legal.
        LabelError: A label is no class index.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
        >>> images = Split(np.zeros((3, 16, 16, 3), "uint8"), np.zeros(3, "int32"))
        >>> sorted(CollapseMonitor(vit(config), images).measure())
        ['feature_rank', 'feature_uniformity']
    """

    def __init__(
        self,
        encoder: keras.Model,
        images: Split | EncodedSplit,
        *,
        labels: np.ndarray | None = None,
        every: int = 1,
        quiet: int = 0,
        count: int = 1000,
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        check_positive("CollapseMonitor", every=every, count=count, batch_size=batch_size)
        if len(images) < 2:
            raise EmptyDatasetError("CollapseMonitor compares images, so it needs at least two.")
        if len(encoder.output_shape) != 2:
            raise InvalidArgumentError(
                f"CollapseMonitor: the encoder must return features (batch, dim), and {encoder.name!r} returns {encoder.output_shape}."
            )
        chosen = np.random.default_rng(0).permutation(len(images))[:count]
        if labels is not None:
            labels = check_labels(labels, "labels", count=len(images), num_classes=max(2, int(np.max(labels)) + 1))[
                chosen
            ]
        self.encoder = encoder
        self.images = images.subset(chosen)
        self.labels = labels
        self.every = every
        self.quiet = quiet
        self.batch_size = batch_size
        self.values: dict[str, float] = {}
        self._warned = False
        self._own: keras.Model | None = None  # of this process, where several train the encoder

    def measure(self) -> dict[str, float]:
        """Returns the measures of the encoder as it is now."""
        encoder = self.encoder
        if process_count() > 1:  # its features need all processes, and these images are the same for each
            with one_device():
                self._own = rebuild(self.encoder) if self._own is None else self._own
            copy_weights(self.encoder, self._own)
            encoder = self._own
        features = compute_features(encoder, self.images, self.batch_size)
        values = dict(zip(MEASURES, (effective_rank(features), uniformity(features)), strict=True))
        if self.labels is None:
            return values
        half, num_classes = len(features) // 2, max(2, int(self.labels.max()) + 1)
        known = KNNClassifier(features[:half], self.labels[:half], num_classes=num_classes)
        return {**values, KNN: known.accuracy(features[half:], self.labels[half:])}

    def get_state(self) -> dict[str, Any]:
        """Returns the last values, and whether it has warned."""
        return {"values": self.values, "warned": self._warned}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `get_state` returned."""
        self.values, self._warned = dict(state["values"]), bool(state["warned"])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the measures to the epoch's metrics; warns once if the features have collapsed."""
        if epoch % self.every == 0 or not self.values or epoch + 1 == self.params.get("epochs"):
            self.values = self.measure()
            self._warn(epoch)
        if logs is not None:
            logs.update(self.values)

    def _warn(self, epoch: int) -> None:
        rank, spread = (self.values[name] for name in MEASURES)
        if self._warned or epoch < self.quiet or spread < _COLLAPSED:
            return
        self._warned = True
        warnings.warn(
            f"Epoch {epoch + 1}: the features of {len(self.images):,} different images are nearly equal (effective rank {rank:.1f} of "
            f"{self.encoder.output_shape[-1]}, uniformity {spread:.3f}): the encoder has collapsed, or has not learned anything yet. If "
            "the next epochs do not change it, look whether the images differ (vit-keras data check), halve the learning rate, or "
            "lengthen the warm-up.",
            stacklevel=2,
        )
