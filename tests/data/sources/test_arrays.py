import keras
import numpy as np
import pytest

from vit_keras.data import Preprocessing, load
from vit_keras.errors import DataError, InvalidArgumentError, LabelError


def arrays(count=40, shape=(8, 9, 3), classes=2):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *shape)).astype("uint8"), np.arange(count) % classes


def dataset(*given):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(given[0] if given else arrays())


def test_a_pair_of_arrays_is_split_and_given_splits_are_kept():
    data = load(arrays())
    assert data.sizes == {"train": 32, "validation": 4, "test": 4}
    assert (data.class_names, data.image_shape) == (("0", "1"), (8, 9, 3))
    assert load(arrays(100), split=(0.2, 0.3)).sizes == {"train": 50, "validation": 20, "test": 30}
    data = load({"train": arrays(20), "validation": arrays(6), "test": arrays(8)}, class_names=("no", "yes"))
    assert data.sizes == {"train": 20, "validation": 6, "test": 8}
    assert data.class_names == ("no", "yes")
    assert load({"train": arrays(20), "test": arrays(8)}).sizes == {"train": 18, "validation": 2, "test": 8}


@pytest.mark.parametrize(
    "labels",
    [np.arange(40) % 2, (np.arange(40) % 2)[:, None], np.eye(2)[np.arange(40) % 2], (np.arange(40) % 2).astype("float32")],
)  # fmt: skip
def test_labels_may_be_integers_or_one_hot(labels):
    assert np.bincount(load((arrays()[0], labels)).splits["train"].labels).tolist() == [16, 16]


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((8, 9), {}, (8, 9, 1)),
        ((8, 9, 1), {"image_size": 12}, (12, 12, 1)),
        ((8, 9, 1), {"image_size": (16, 24), "channels": 3}, (16, 24, 3)),
        ((8, 9, 3), {"preprocessing": Preprocessing(image_size=(4, 6), channels=1)}, (4, 6, 1)),
    ],
)
def test_images_get_the_requested_size_and_channels_in_every_split(shape, options, expected):
    splits = load(arrays(shape=shape), **options).splits.values()
    assert {split.images.shape[1:] for split in splits} == {expected}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((40, 3, 8, 8), "uint8"), r"channels seem to come first; transpose to \(0, 2, 3, 1\)"),
        (np.zeros((40, 8, 8, 4), "uint8"), r"1 or 3 channels, got \(40, 8, 8, 4\)"),
        (np.zeros((40, 8), "uint8"), r"shape \(count, height, width, channels\)"),
        (np.array([["a"]] * 40), "one numeric array"),
        ([np.zeros((8, 8, 3)), np.zeros((9, 9, 3))], "Images of different sizes are read from a folder"),
        (np.zeros((39, 8, 8, 3), "uint8"), "39 images and 40 labels"),
    ],
)
def test_other_arrays_are_an_error(images, message):
    with pytest.raises(DataError, match=message):
        load((images, np.arange(40) % 2))


@pytest.mark.parametrize(
    "labels",
    [np.full(40, 0.5), np.full(40, np.nan), np.full((40, 2), 0.5), np.zeros((40, 2, 2))],
)  # fmt: skip
def test_other_labels_are_an_error(labels):
    with pytest.raises(LabelError, match="labels"):
        load((arrays()[0], labels))


@pytest.mark.parametrize(("label", "names"), [(-1, None), (2, ("a", "b"))])
def test_a_label_out_of_range_is_an_error(label, names):
    images, labels = arrays()
    with pytest.raises(LabelError, match=rf"labels range from .*{label}"):
        load((images, np.where(labels == 1, label, labels)), class_names=names)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((arrays(10)[0], np.array([0] * 9 + [2])), "Class '1' has 0 readable images"),
        (arrays(classes=1), "at least two classes are needed, found 0"),
        ({"pictures": arrays()}, r"of which train is required; got pictures"),
        ({"train": arrays()[0]}, r"expected a pair \(images, labels\), got ndarray"),
    ],
)
def test_other_splits_are_an_error(source, message):
    with pytest.raises(DataError, match=message):
        load(source)


@pytest.mark.parametrize("split", [(0, 0.1), (0, 0), (0.1, -0.1), (0.5, 0.5), (0.1,), ("a", "b")])
def test_rates_that_leave_no_training_images_are_an_error(split):
    with pytest.raises(InvalidArgumentError, match="two fractions for validation"):
        load(arrays(), split=split)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        images, labels = arrays()
        return images[index * 10 : index * 10 + 10], labels[index * 10 : index * 10 + 10]


@pytest.mark.parametrize("make", [dataset, lambda: dataset().batch(7), Batches], ids=["single", "batched", "PyDataset"])
def test_a_data_set_is_read_as_its_arrays(make):
    assert load(make()).fingerprint == load(arrays()).fingerprint


def test_a_data_set_of_several_sizes_needs_a_size():
    import tensorflow as tf

    def examples():
        for index in range(20):
            yield np.full((8 + index, 10, 3), index, "uint8"), index % 2

    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    several = tf.data.Dataset.from_generator(examples, output_signature=signature)
    assert load(several, image_size=8).image_shape == (8, 8, 3)
    with pytest.raises(DataError, match="different sizes; pass image_size"):
        load(several)


def test_data_sets_without_images_or_labels_or_too_large_or_infinite_are_an_error(monkeypatch):
    endless = dataset().repeat()
    for given, message in (
        (dataset().take(0), "is empty"),
        (dataset(arrays()[0]), "element 0: expected a pair"),
        (endless, "is infinite; pass a limit"),
    ):
        with pytest.raises(DataError, match=message):
            load(given)
    assert sum(load(endless, limit=30).sizes.values()) == 30
    monkeypatch.setattr("vit_keras.data.sources.arrays._LARGEST_BYTES", 1000)
    with pytest.raises(DataError, match="GiB in memory: pass a smaller image_size or a limit"):
        load(dataset())
