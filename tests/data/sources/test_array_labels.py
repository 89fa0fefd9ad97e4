import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.errors import ClassLayoutError, LabelError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype("uint8")
NAMES = ["dog", "cat", "owl"] * 4


def find_labels(data):
    """Returns the class name of each image that was loaded from `IMAGES`, or the list of its class names."""
    found = {}
    for split in data.splits.values():
        for image, label in zip(split.images, split.labels, strict=True):
            (place,) = np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))
            found[int(place)] = (
                data.class_names[label] if label.ndim == 0 else np.array(data.class_names)[label == 1].tolist()
            )
    return [found[place] for place in range(len(IMAGES))]


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, lambda names: np.array(names, dtype=object), lambda names: np.array(names, "S")]
)
def test_labels_may_be_class_names(kind):
    data = load((IMAGES, kind(NAMES)))
    assert (data.task, data.class_names, data.decisions) == ("single_label", ("cat", "dog", "owl"), ())
    assert find_labels(data) == NAMES


def test_class_names_order_them():
    data = load((IMAGES, NAMES), class_names=["owl", "dog", "cat"])
    assert data.class_names == ("owl", "dog", "cat")
    assert find_labels(data) == NAMES
    with pytest.raises(ClassLayoutError, match="class_names must list exactly the classes"):
        load((IMAGES, NAMES), class_names=["owl", "dog"])


@pytest.mark.parametrize("separator", ["|", ", "])
def test_several_names_per_image(separator):
    several = [["cat"], ["cat", "dog"], [], ["owl", "cat"]] * 3
    for labels in (several, [separator.join(each) for each in several]):
        data = load((IMAGES, labels), label_separator=separator)
        assert (data.task, data.class_names) == ("multi_label", ("cat", "dog", "owl"))
        expected = [sorted(each) for each in several]
        assert find_labels(data) == expected
        assert "read as several classes per image" in data.decisions[0]
        assert "column" not in " ".join(data.decisions)


def test_two_names_for_every_image():
    data = load((IMAGES, [["cat", "dog"], ["owl", "cat"], ["dog", "owl"]] * 4))
    assert find_labels(data) == [["cat", "dog"], ["cat", "owl"], ["dog", "owl"]] * 4


def test_a_data_set_of_pairs_and_splits():
    import tensorflow as tf

    train = tf.data.Dataset.from_tensor_slices((IMAGES, NAMES))
    for source in (train, train.batch(5)):
        data = load(source)
        assert find_labels(data) == NAMES
    data = load({"train": train.batch(4), "test": (IMAGES[:2], ["owl", "cat"])}, split=(0.34, 0.1))
    assert data.splits["test"].labels.tolist() == [2, 0]
    with pytest.raises(ClassLayoutError, match=r"no training image has the labels bat"):
        load({"train": (IMAGES, NAMES), "test": (IMAGES[:2], ["owl", "bat"])})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([*NAMES[:11], ""], "image 11: no label"),
        (np.array([*NAMES[:11], None], dtype=object), "image 11: no label"),
        (np.array([*NAMES[:11], b"\xff"], dtype=object), "is not text in UTF-8"),
        ([[1, 2], [3]] * 6, "the labels have different lengths"),
    ],
)
def test_labels_that_are_no_names_are_an_error(labels, message):
    with pytest.raises(LabelError, match=message):
        load((IMAGES, labels))
