"""The nearest-neighbor baseline, which a trained model must beat."""

import numpy as np

from vit_keras.data import EncodedSplit, ImageData, Split
from vit_keras.data.dataset.pipeline import make_batches

SIDE = 16  # px
_BATCH_SIZE = 256


def nearest_neighbor_accuracy(data: ImageData) -> float:
    """Returns the accuracy of copying the label of the most similar image of the other splits, by its pixels at 16x16.

    It is on the test images, or on the validation images where there are none.
    """
    from sklearn.neighbors import KNeighborsClassifier

    tested = data.splits[data.evaluation_split]
    known = [split for split in data.splits.values() if split is not tested]
    neighbors = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    neighbors.fit(
        np.concatenate([_shrink(split) for split in known]), np.concatenate([split.labels for split in known])
    )
    return float(neighbors.score(_shrink(tested), tested.labels))


def _shrink(split: Split | EncodedSplit) -> np.ndarray:
    """Averages images to 16x16 px; returns `(count, 16 * 16 * channels)`."""
    import tensorflow as tf

    small = [
        tf.image.resize(images, (SIDE, SIDE), method="area").numpy() for images, _ in make_batches(split, _BATCH_SIZE)
    ]
    return np.concatenate(small).reshape(len(split), -1)
