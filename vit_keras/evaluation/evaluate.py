"""How good a model is, and how good the simplest thing would be."""

from dataclasses import dataclass

import keras
import numpy as np

from vit_keras.data import EncodedSplit, ImageData, Split
from vit_keras.data.dataset.pipeline import make_batches

BASELINE_SIDE = 16  # px
_TOGETHER = 256  # images at once


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model says of a split.

    Args:
        probabilities: `(count, classes)`, fractions that sum to 1 an image.
        labels: `(count,)`, what is right.
    """

    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """The likeliest class of each image."""
        predictions: np.ndarray = self.probabilities.argmax(axis=1)
        return predictions

    @property
    def accuracy(self) -> float:
        """Fraction of the images that are right."""
        return float((self.predictions == self.labels).mean())


def probabilities(model: keras.Model, images: "np.ndarray | Split | EncodedSplit") -> np.ndarray:
    """Returns what a model with a head of logits says of images.

    Args:
        model: A model that ends in logits.
        images: `(count, height, width, channels)`, pixels 0..255, or a split.

    Returns:
        `(count, classes)`, fractions that sum to 1 an image.
    """
    if isinstance(images, np.ndarray):
        images = Split(images, np.zeros(len(images), dtype="int32"))
    pixels = make_batches(images, _TOGETHER).map(lambda pixels, labels: pixels)
    logits: np.ndarray = model.predict(pixels, verbose=0).astype("float64")
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    fractions: np.ndarray = grown / grown.sum(axis=1, keepdims=True)
    return fractions


def evaluate(model: keras.Model, split: Split | EncodedSplit) -> Evaluation:
    """Returns what a model says of a split, in the precision the model has.

    Args:
        model: A model that ends in logits.
        split: Images with what is right.
    """
    return Evaluation(probabilities(model, split), split.labels)


def nearest_neighbour_accuracy(data: ImageData) -> float:
    """Returns the test accuracy of taking the label of the most similar image, by distance of its pixels at 16x16.

    Neighbours are sought in the training and validation images. Whatever learns must beat it.

    Args:
        data: The data set.
    """
    from sklearn.neighbors import KNeighborsClassifier

    known = [data.splits[name] for name in ("train", "validation")]
    neighbours = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    neighbours.fit(
        np.concatenate([_small(split) for split in known]), np.concatenate([split.labels for split in known])
    )
    return float(neighbours.score(_small(data.splits["test"]), data.splits["test"].labels))


def _small(split: Split | EncodedSplit) -> np.ndarray:
    """Averages images to 16x16 and lays each out in a row."""
    import tensorflow as tf

    small = [
        tf.image.resize(images, (BASELINE_SIDE, BASELINE_SIDE), method="area").numpy()
        for images, _ in make_batches(split, _TOGETHER)
    ]
    return np.concatenate(small).reshape(len(split), -1)
