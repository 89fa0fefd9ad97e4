"""The nearest-neighbor baseline, which a trained model must beat."""

import numpy as np

from vit_keras.data import EncodedSplit, ImageData, Split
from vit_keras.data.dataset.pipeline import make_batches
from vit_keras.evaluation.multi_label import MultiLabelEvaluation
from vit_keras.evaluation.regression import RegressionEvaluation

SIDE = 16  # px
_BATCH_SIZE = 256


def nearest_neighbor_accuracy(data: ImageData) -> float:
    """Returns the accuracy of copying the label of the most similar image of the other splits, by its pixels at 16x16.

    It is on the test images, or on the validation images where there are none.
    """
    return float((_copy_labels(data) == data.splits[data.evaluation_split].labels).mean())


def measure_baseline(data: ImageData) -> dict[str, float]:
    """Returns the baseline's most important metric of the task, by the name that `run.json` has for it."""
    if data.task == "single_label":
        return {"nearest_neighbour_accuracy": nearest_neighbor_accuracy(data)}
    copied, labels = _copy_labels(data), data.splits[data.evaluation_split].labels
    if data.task == "multi_label":
        return {"nearest_neighbor_micro_f1": MultiLabelEvaluation(copied.astype("float64"), labels).micro_f1}
    return {"nearest_neighbor_r2": RegressionEvaluation(copied, labels, data.class_names).r2}


def _copy_labels(data: ImageData) -> np.ndarray:
    """Returns the label of the most similar image of the other splits for each image of `evaluation_split`."""
    from sklearn.neighbors import NearestNeighbors

    tested = data.splits[data.evaluation_split]
    known = [split for split in data.splits.values() if split is not tested]
    neighbors = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(
        np.concatenate([_shrink(split) for split in known])
    )
    nearest = neighbors.kneighbors(_shrink(tested), return_distance=False)[:, 0]
    labels: np.ndarray = np.concatenate([split.labels for split in known])[nearest]
    return labels


def _shrink(split: Split | EncodedSplit) -> np.ndarray:
    """Averages images to 16x16 px; returns `(count, 16 * 16 * channels)`."""
    import tensorflow as tf

    small = [
        tf.image.resize(images, (SIDE, SIDE), method="area").numpy() for images, _ in make_batches(split, _BATCH_SIZE)
    ]
    return np.concatenate(small).reshape(len(split), -1)
