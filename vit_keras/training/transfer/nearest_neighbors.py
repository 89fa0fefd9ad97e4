"""The label that the most similar training images have, by the features of a model that stays as it is."""

from dataclasses import dataclass, field

import numpy as np

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.transfer.feature_checks import checked_features, checked_labels
from vit_keras.validation import is_number

_FEWEST = 5  # votes, if there are as many images: fewer are worse even where a class has 1 to 3 of them
_TOGETHER = 2**23  # similarities at once, 32 MiB


@dataclass(frozen=True, eq=False)
class KNNClassifier:
    """A classifier without training: the `k` most similar images vote, the more the more similar they are.

    Paper: Caron et al. 2021, arXiv 2104.14294, appendix F.1: cosine similarity, weight `exp(similarity / temperature)`, k of 20.

    No more vote than the smallest class has images, but 5 where it has fewer: of 20 neighbours of an image whose class has 5, 15 can
    only be wrong. On features of Fashion-MNIST, 5 images a class, that is worth up to 1.2 points; with 1 to 300, 3 to 6.

    Args:
        features: `(count, dim)`, of the training images.
        labels: `(count,)`, of the training images.
        num_classes: Classes.
        k: Neighbours that vote, at most.
        temperature: Of the weights, positive; the smaller, the more the most similar counts.

    Raises:
        DataError: Features or labels are empty, not finite, out of range, or don't fit each other.
        InvalidArgumentError: `k` is no positive whole number, or the temperature not positive.

    Example:
        >>> neighbours = KNNClassifier(np.eye(2), np.array([1, 0]), num_classes=2)
        >>> neighbours.predict(np.array([[5.0, 1.0], [1.0, 5.0]]))
        array([1, 0])
    """

    features: np.ndarray
    labels: np.ndarray
    num_classes: int = field(kw_only=True)
    k: int = field(default=20, kw_only=True)
    temperature: float = field(default=0.07, kw_only=True)

    def __post_init__(self) -> None:
        if type(self.k) is not int or self.k < 1:
            raise InvalidArgumentError(f"k={self.k!r} is not a positive whole number of neighbours.")
        if not is_number(self.temperature) or not 0 < self.temperature < np.inf:
            raise InvalidArgumentError(f"temperature={self.temperature!r} is not a positive number.")
        features = checked_features(self.features, "training features")
        labels = checked_labels(self.labels, "training labels", count=len(features), num_classes=self.num_classes)
        object.__setattr__(self, "features", _directions(features))
        object.__setattr__(self, "labels", labels)

    @property
    def neighbours(self) -> int:
        """How many images vote."""
        sizes = np.bincount(self.labels)
        return min(self.k, len(self.labels), max(_FEWEST, int(sizes[sizes > 0].min())))

    def votes(self, features: np.ndarray) -> np.ndarray:
        """Returns what share of the votes each class has, `(count, num_classes)`.

        Args:
            features: `(count, dim)`.

        Raises:
            DataError: They are empty, not finite, or of another width.
        """
        checked = checked_features(features, "features", dim=self.features.shape[1])
        votes = np.zeros((len(checked), self.num_classes), "float32")
        together, k = max(1, _TOGETHER // len(self.features)), self.neighbours
        for start in range(0, len(checked), together):
            here = slice(start, start + together)
            similarities = _directions(checked[here]) @ self.features.T
            nearest = np.argpartition(similarities, -k, axis=1)[:, -k:]
            similar = np.take_along_axis(similarities, nearest, axis=1)
            weights = np.exp((similar - similar.max(axis=1, keepdims=True)) / self.temperature)
            weights /= weights.sum(axis=1, keepdims=True)
            rows = np.arange(len(weights))[:, None]
            np.add.at(votes[here], (rows, self.labels[nearest]), weights)
        return votes

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Returns the class with the most votes for each image, `(count,)`; of equals the first."""
        predictions: np.ndarray = self.votes(features).argmax(axis=1)
        return predictions

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Returns the fraction of the images that are right.

        Args:
            features: `(count, dim)`.
            labels: `(count,)`.

        Raises:
            DataError: They can't be used.
        """
        predictions = self.predict(features)
        labels = checked_labels(labels, "labels", count=len(predictions), num_classes=self.num_classes)
        return float((predictions == labels).mean())


def _directions(features: np.ndarray) -> np.ndarray:
    """Returns features of length 1, float32; what has no direction stays zero, equally similar to everything."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions: np.ndarray = (features / np.where(lengths > 0, lengths, 1)).astype("float32")
    return directions
