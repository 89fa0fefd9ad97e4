import numpy as np
import pytest

from vit_keras.data import Preprocessing, load
from vit_keras.errors import DataError, InvalidArgumentError, LabelError


def arrays(count=40, shape=(8, 9, 3), classes=2):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *shape)).astype("uint8"), np.arange(count) % classes


def counts(data):
    return {name: len(split) for name, split in data.splits.items()}


def test_a_pair_of_arrays_is_parted():
    data = load(arrays())
    assert counts(data) == {"train": 32, "validation": 4, "test": 4}
    assert data.class_names == ("0", "1")
    assert data.image_shape == (8, 9, 3)


def test_the_parts_are_as_asked_for():
    assert counts(load(arrays(100), split=(0.2, 0.3))) == {"train": 50, "validation": 20, "test": 30}


def test_splits_that_are_given_are_taken():
    data = load({"train": arrays(20), "validation": arrays(6), "test": arrays(8)}, class_names=("no", "yes"))
    assert counts(data) == {"train": 20, "validation": 6, "test": 8}
    assert data.class_names == ("no", "yes")


def test_a_missing_split_is_held_out():
    assert counts(load({"train": arrays(20), "test": arrays(8)})) == {"train": 18, "validation": 2, "test": 8}


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_pixels_of_any_number_from_0_to_255_are_bytes(dtype):
    images, labels = arrays()
    np.testing.assert_array_equal(
        load((images.astype(dtype), labels)).splits["train"].images, load((images, labels)).splits["train"].images
    )


@pytest.mark.parametrize(
    ("labels", "kind"), [(np.arange(40) % 2, "int"), ((np.arange(40) % 2)[:, None], "column"), (np.eye(2)[np.arange(40) % 2], "one-hot"),
    ((np.arange(40) % 2).astype("float32"), "whole floats")]
)  # fmt: skip
def test_labels_may_be_whole_numbers_or_one_hot(labels, kind):
    assert np.bincount(load((arrays()[0], labels)).splits["train"].labels).tolist() == [16, 16]


def test_images_without_an_axis_for_grey_get_one():
    assert load(arrays(shape=(8, 9))).image_shape == (8, 9, 1)


def test_images_are_brought_to_the_size_and_channels_asked_for():
    assert load(arrays(shape=(8, 9, 1)), image_size=12).image_shape == (12, 12, 1)
    assert load(arrays(shape=(8, 9, 1)), image_size=12, channels=3).image_shape == (12, 12, 3)
    assert load(arrays(), preprocessing=Preprocessing(image_size=(4, 6), channels=1)).image_shape == (4, 6, 1)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.full((40, 8, 8, 3), 2.5), r"from 2\.5 to 2\.5.*pixel_range="),
        (np.full((40, 8, 8, 3), -1.0), "from -1 to -1.*expected from 0 to 255"),
        (np.full((40, 8, 8, 3), 300), "from 300 to 300"),
        (np.full((40, 8, 8, 3), np.nan), "7680 pixels are NaN or infinite, the first in image 0"),
        (np.zeros((40, 3, 8, 8), "uint8"), r"channels seem to come first; transpose to \(0, 2, 3, 1\)"),
        (np.zeros((40, 8, 8, 4), "uint8"), r"1 or 3 channels, not \(40, 8, 8, 4\)"),
        (np.zeros((40, 8), "uint8"), r"shape \(count, height, width, channels\)"),
        (np.array([["a"]] * 40), "one array of numbers"),
        ([np.zeros((8, 8, 3)), np.zeros((9, 9, 3))], "images of different sizes are read from a folder"),
        (np.zeros((39, 8, 8, 3), "uint8"), "39 images and 40 labels"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, told):
    with pytest.raises(DataError, match=told):
        load((images, np.arange(40) % 2))


@pytest.mark.parametrize(
    "labels",
    [np.full(40, 0.5), np.full(40, np.nan), np.array(["a"] * 40), np.full((40, 2), 0.5), np.zeros((40, 2)), np.zeros((40, 2, 2))],
)  # fmt: skip
def test_what_are_no_labels_is_refused(labels):
    with pytest.raises(LabelError, match="labels"):
        load((arrays()[0], labels))


@pytest.mark.parametrize(("label", "names"), [(-1, None), (2, ("a", "b"))])
def test_a_label_out_of_range_is_named(label, names):
    images, labels = arrays()
    with pytest.raises(LabelError, match=rf"labels run from .*{label}"):
        load((images, np.where(labels == 1, label, labels)), class_names=names)


def test_a_class_too_small_to_hold_out_is_named():
    with pytest.raises(DataError, match="Class '1' has 1 readable images; it needs three"):
        load((arrays(10)[0], np.array([0] * 9 + [1])))


@pytest.mark.parametrize("given", [{"pictures": arrays()}, {"test": arrays()}, {}])
def test_splits_have_names_of_their_own(given):
    with pytest.raises(DataError, match="train, validation and test, and train must be there"):
        load(given)


@pytest.mark.parametrize("part", [arrays()[0], (arrays()[0],), "train.npz", 7])
def test_a_split_is_a_pair(part):
    with pytest.raises(DataError, match="expected a pair of images and labels"):
        load({"train": part})


@pytest.mark.parametrize("split", [(0, 0.1), (0.5, 0.5), (0.1,), 0.1, ("a", "b")])
def test_rates_that_leave_nothing_are_refused(split):
    with pytest.raises(InvalidArgumentError, match="two fractions above 0"):
        load(arrays(), split=split)


@pytest.mark.parametrize("batched", [True, False])
def test_a_tf_data_set_is_read_batch_by_batch_or_one_by_one(batched):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(arrays())
    data = load(dataset.batch(7) if batched else dataset)
    assert counts(data) == {"train": 32, "validation": 4, "test": 4}
    assert data.fingerprint == load(arrays()).fingerprint


def test_a_tf_data_set_of_several_sizes_needs_a_size():
    import tensorflow as tf

    def examples():
        for index in range(20):
            yield np.full((8 + index, 10, 3), index, "uint8"), index % 2

    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    dataset = tf.data.Dataset.from_generator(examples, output_signature=signature)
    assert load(dataset, image_size=8).image_shape == (8, 8, 3)
    with pytest.raises(DataError, match="different sizes; give image_size"):
        load(dataset)


def test_a_data_set_without_end_needs_a_limit():
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices(arrays()).repeat()
    with pytest.raises(DataError, match="never ends; give a limit"):
        load(endless)
    assert sum(counts(load(endless, limit=30)).values()) == 30


def test_an_empty_data_set_is_refused():
    import tensorflow as tf

    with pytest.raises(DataError, match="is empty"):
        load(tf.data.Dataset.from_tensor_slices(arrays()).take(0))


def test_a_data_set_of_images_alone_is_refused():
    import tensorflow as tf

    with pytest.raises(DataError, match="element 0 is no pair"):
        load(tf.data.Dataset.from_tensor_slices(arrays()[0]))


def test_a_data_set_too_large_for_memory_is_refused(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr("vit_keras.data.sources.arrays._LARGEST_BYTES", 1000)
    with pytest.raises(DataError, match="GiB in memory: give a smaller image_size or a limit"):
        load(tf.data.Dataset.from_tensor_slices(arrays()))


def test_a_py_dataset_is_read_once():
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            images, labels = arrays()
            return images[index * 10 : index * 10 + 10], labels[index * 10 : index * 10 + 10]

    assert load(Batches()).fingerprint == load(arrays()).fingerprint
