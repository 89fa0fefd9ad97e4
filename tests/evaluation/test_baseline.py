import numpy as np
import pytest

from vit_keras.data import ImageData, Split
from vit_keras.evaluation.baseline import nearest_neighbor_accuracy

pytestmark = pytest.mark.any_backend


def test_the_baseline_is_the_label_of_the_nearest_image(rng):
    def split(count):
        return Split(rng.integers(0, 256, (count, 32, 32, 3)).astype("uint8"), rng.integers(0, 3, count))

    data = ImageData(
        name="noise",
        class_names=("a", "b", "c"),
        splits={"train": split(30), "validation": split(10), "test": split(40)},
    )

    def small(split):
        return split.images.reshape(len(split), 16, 2, 16, 2, 3).mean(axis=(2, 4)).reshape(len(split), -1)

    known = np.concatenate([small(data.splits[name]) for name in ("train", "validation")])
    labels = np.concatenate([data.splits[name].labels for name in ("train", "validation")])
    distances = ((small(data.splits["test"])[:, None] - known) ** 2).sum(axis=-1)
    expected = (labels[distances.argmin(axis=1)] == data.splits["test"].labels).mean()
    assert nearest_neighbor_accuracy(data) == pytest.approx(expected)
