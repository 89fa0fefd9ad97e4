from dataclasses import replace

import numpy as np
import pytest

from vit_keras.data import Augmentation, ImageData, Preprocessing, Split
from vit_keras.errors import DataError, InvalidArgumentError, VitKerasError

CLASS_NAMES = ("cat", "dog", "owl")


def numbered(count, side=4, first=0):
    """Images whose first pixel is their number."""
    images = np.zeros((count, side, side, 3), "uint8")
    images[:, 0, 0, 0] = np.arange(first, first + count)
    return Split(images, np.arange(count) % len(CLASS_NAMES))


@pytest.fixture
def data():
    splits = {"train": numbered(24), "validation": numbered(7, first=100), "test": numbered(9, first=200)}
    return ImageData(name="numbers", class_names=CLASS_NAMES, splits=splits, batch_size=8)


def read(batches):
    """Returns the numbers of the images, batch by batch."""
    return [images.numpy()[:, 0, 0, 0].astype(int).tolist() for images, _ in batches]


IMAGES = np.zeros((3, 4, 4, 3), "uint8")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[0], np.zeros(4, int), r"of shape \(count, height, width, channels\), got uint8 of shape \(4, 4, 3\)"),
        (IMAGES.astype("float32"), np.zeros(3, int), r"uint8 pixels 0\.\.255 .* got float32"),
        (IMAGES, np.zeros(2, int), r"one integer per image, of shape \(3,\), got int64 of shape \(2,\)"),
        (IMAGES, np.zeros(3), "got float64"),
        ([[[[0]]]], [0], "got list and list; convert them with np.asarray"),
    ],
)
def test_a_split_of_other_arrays_is_an_error(images, labels, message):
    with pytest.raises(DataError, match=message):
        Split(images, labels)


def test_splits_that_do_not_fit_are_an_error(data):
    with pytest.raises(
        DataError, match=r"expected the splits train, validation and, if there is one, test; got test, train"
    ):
        replace(data, splits={name: data.splits[name] for name in ("train", "test")})
    with pytest.raises(DataError, match="numbers: the validation split has no images"):
        replace(data, splits={**data.splits, "validation": numbered(0)})
    with pytest.raises(DataError, match=r"test images have the shape \(5, 5, 3\), training images \(4, 4, 3\)"):
        replace(data, splits={**data.splits, "test": numbered(9, side=5)})


@pytest.mark.parametrize(("name", "label"), [("train", -1), ("test", 3)])
def test_a_label_out_of_range_is_an_error(data, name, label):
    labels = data.splits[name].labels.copy()
    labels[0] = label
    message = rf"{name} labels range from .*{label}.*with 3 classes they must be from 0 to 2"
    with pytest.raises(DataError, match=message):
        replace(data, splits={**data.splits, name: Split(data.splits[name].images, labels)})


@pytest.mark.parametrize("changes", [{"batch_size": 0}, {"batch_size": None}, {"seed": -1}, {"parts": 3}], ids=str)
def test_an_illegal_argument_is_named(data, changes):
    with pytest.raises(VitKerasError, match=next(iter(changes))):
        replace(data, **changes)


def test_validation_and_test_come_in_order_and_complete(data):
    assert read(data.validation) == [list(range(100, 107))]
    assert read(data.test) == [list(range(200, 208)), [208]]
    with pytest.raises(InvalidArgumentError, match="no split 'val': expected one of train, validation, test"):
        data.batches("val")


def test_pixels_and_labels_stay_together(data):
    for batches, first in ((data.train, 0), (data.validation, 100), (data.training_batches(epochs=1), 0)):
        for images, labels in batches:
            assert images.dtype == "uint8"
            assert labels.dtype == "int32"
            assert ((images.numpy()[:, 0, 0, 0].astype(int) - first) % 3).tolist() == labels.numpy().tolist()


def test_train_has_each_image_once_in_a_new_order_each_time(data):
    train = data.train
    first, second = read(train), read(train)
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(24))
    assert first != second
    assert first == read(replace(data).train)
    assert first != read(replace(data, seed=1).train)
    assert [len(batch) for batch in read(replace(data, batch_size=10).train)] == [10, 10]


def test_too_few_images_for_a_batch_are_an_error(data):
    small = replace(data, batch_size=25)
    for use in (lambda: small.train, lambda: small.training_batches(epochs=1)):
        with pytest.raises(DataError, match="24 training images cannot fill a batch of 25; reduce batch_size"):
            use()


def test_training_batches_have_each_image_once_per_epoch_and_drop_others_each_time(data):
    assert data.steps_per_epoch == 3
    batches = data.training_batches(epochs=3)
    numbers = read(batches)
    epochs = [np.concatenate(numbers[start : start + 3]) for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert numbers == read(batches) == read(replace(data).training_batches(epochs=3))
    assert numbers != read(replace(data, seed=1).training_batches(epochs=3))
    numbers = read(replace(data, batch_size=9).training_batches(epochs=5))
    for start in range(0, 10, 2):
        assert len(np.unique(np.concatenate(numbers[start : start + 2]))) == 18
    numbers = read(replace(data, batch_size=23).training_batches(epochs=8))
    assert len({*range(24)} - set.intersection(*map(set, numbers))) > 1


def test_augmentation_differs_by_epoch_and_by_seed(data):
    def brightnesses(seed):
        batches = replace(data, batch_size=24, seed=seed).training_batches(
            epochs=2, augmentation=Augmentation(brightness=0.3)
        )
        return [np.sort(images.numpy()[:, 1, 1, 0]) for images, _ in batches]

    (first, second), (other, _) = brightnesses(0), brightnesses(1)
    assert (first != second).any()
    assert (first != other).any()


def test_a_limit_draws_images_with_their_labels_by_the_seed(data):
    limited = data.limit(8)
    assert limited.sizes == {"train": 8, "validation": 7, "test": 8}
    numbers = limited.splits["train"].images[:, 0, 0, 0]
    assert len(set(numbers.tolist())) == 8
    assert (numbers % 3 == limited.splits["train"].labels).all()
    assert limited.fingerprint == data.limit(8).fingerprint
    assert limited.fingerprint != replace(data, seed=1).limit(8).fingerprint
    with pytest.raises(DataError, match="limit=0 is not a positive integer"):
        data.limit(0)


def test_resizing_needs_one_or_three_channels(data):
    gray = Preprocessing(image_size=(2, 2), channels=1)
    assert data.resize(gray).image_shape == (2, 2, 1)
    assert data.resize(Preprocessing(image_size=(4, 4))) is data
    splits = {name: Split(np.repeat(split.images, 2, axis=-1), split.labels) for name, split in data.splits.items()}
    with pytest.raises(DataError, match="images with 6 channels can't be converted; expected 1 or 3"):
        replace(data, splits=splits).resize(gray)


def test_the_fingerprint_covers_every_pixel_label_and_class_name_and_nothing_else(data):
    def convert(function, names=tuple(data.splits)):
        splits = {name: function(data.splits[name]) for name in names}
        return replace(data, splits=data.splits | splits)

    def other_pixel(split):
        images = split.images.copy()
        images[-1, -1, -1, -1] = 1
        return Split(images, split.labels)

    def other_label(split):
        return Split(split.images, np.append(split.labels[:-1], (split.labels[-1] + 1) % 3))

    others = [
        replace(data, class_names=("cat", "dog", "cow")),
        convert(lambda split: Split(split.images.reshape(-1, 2, 8, 3), split.labels)),
        *(convert(change, [name]) for name in data.splits for change in (other_pixel, other_label)),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 9
    for same in (
        replace(data, name="other", batch_size=3, seed=7, notes=("a note",)),
        convert(lambda split: Split(split.images, split.labels.astype("int8"))),
    ):
        assert same.fingerprint == data.fingerprint
