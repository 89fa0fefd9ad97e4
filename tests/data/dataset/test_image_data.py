from dataclasses import replace

import numpy as np
import pytest

from vit_keras.data import Augmentation, ImageData, Split
from vit_keras.errors import DataError, VitKerasError

CLASS_NAMES = ("cat", "dog", "owl")


def numbered(count, side=4, first=0):
    """Images whose first pixel holds their number, so that a test sees which is which."""
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


@pytest.mark.parametrize(
    "images",
    [np.zeros((3, 4, 4), "uint8"), np.zeros((4, 4, 3), "uint8"), np.zeros((3, 4, 4, 3), "float32"), np.zeros((3, 4, 4, 3), int)],
)  # fmt: skip
def test_a_split_takes_uint8_pixels_of_four_axes(images):
    with pytest.raises(DataError, match=r"uint8 pixels 0\.\.255 of shape \(count, height, width, channels\)") as caught:
        Split(images, np.zeros(len(images), int))
    assert str(images.dtype) in str(caught.value)
    assert str(images.shape) in str(caught.value)


@pytest.mark.parametrize(
    "labels", [np.zeros(2, int), np.zeros((3, 2), int), np.zeros(3), np.array(["a", "b", "c"]), np.array(0)]
)
def test_a_split_takes_one_whole_number_an_image(labels):
    with pytest.raises(DataError, match="3 images need as many whole-number labels"):
        Split(np.zeros((3, 4, 4, 3), "uint8"), labels)


def test_a_split_of_lists_is_refused():
    with pytest.raises(DataError, match="uint8"):
        Split([[[[0]]]], [0])


def test_a_missing_split_is_named(data):
    with pytest.raises(DataError, match=r"needs the splits train, validation and test; it has \['test', 'train'\]"):
        replace(data, splits={name: data.splits[name] for name in ("train", "test")})


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_an_empty_split_is_refused(data, name):
    with pytest.raises(DataError, match=f"The {name} split of numbers has no images"):
        replace(data, splits={**data.splits, name: numbered(0)})


def test_a_split_of_another_size_is_refused(data):
    with pytest.raises(DataError, match=r"test images are \(5, 5, 3\), training images \(4, 4, 3\)"):
        replace(data, splits={**data.splits, "test": numbered(9, side=5)})


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_a_label_out_of_range_is_refused(data, name, label):
    split = data.splits[name]
    labels = split.labels.copy()
    labels[0] = label
    with pytest.raises(DataError, match=rf"{name} labels run from .*{label}.*3 classes are 0 to 2"):
        replace(data, splits={**data.splits, name: Split(split.images, labels)})


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8"])
def test_a_batch_size_that_is_none_is_refused(data, batch_size):
    with pytest.raises(VitKerasError, match="batch_size"):
        replace(data, batch_size=batch_size)


def test_validation_and_test_come_in_order_and_whole(data):
    assert read(data.validation) == [list(range(100, 107))]
    assert read(data.test) == [list(range(200, 208)), [208]]


def test_pixels_and_labels_stay_together(data):
    for batches, first in ((data.train, 0), (data.validation, 100), (data.training_batches(epochs=1), 0)):
        for images, labels in batches:
            assert images.dtype == "uint8"
            assert labels.dtype == "int32"
            assert ((images.numpy()[:, 0, 0, 0].astype(int) - first) % 3).tolist() == labels.numpy().tolist()


def test_train_gives_each_image_once_in_another_order_each_time(data):
    train = data.train
    first, second = read(train), read(train)
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(24))
    assert first != second


def test_train_leaves_the_incomplete_batch_out(data):
    assert [len(batch) for batch in read(replace(data, batch_size=10).train)] == [10, 10]


def test_train_in_two_objects_of_one_seed_is_the_same(data):
    assert read(data.train) == read(replace(data).train)
    assert read(data.train) != read(replace(data, seed=1).train)


@pytest.mark.parametrize("use", [lambda data: data.train, lambda data: data.training_batches(epochs=1)])
def test_too_few_images_for_one_batch_is_said(data, use):
    with pytest.raises(DataError, match="24 training images of numbers make no batch of 25"):
        use(replace(data, batch_size=25))


def test_training_batches_give_each_image_once_an_epoch(data):
    batches = read(data.training_batches(epochs=3))
    assert [len(batch) for batch in batches] == [8] * 9
    epochs = [np.concatenate(batches[start : start + 3]) for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_training_batches_never_repeat_an_image_in_an_epoch_that_does_not_divide(data):
    batches = read(replace(data, batch_size=9).training_batches(epochs=5))
    for start in range(0, 10, 2):
        assert len(np.unique(np.concatenate(batches[start : start + 2]))) == 18


def test_training_batches_leave_out_other_images_in_other_epochs(data):
    batches = read(replace(data, batch_size=23).training_batches(epochs=8))
    assert len({*range(24)} - set.intersection(*map(set, batches))) > 1


def test_training_batches_are_the_same_when_read_again(data):
    batches = data.training_batches(epochs=2)
    assert read(batches) == read(batches) == read(replace(data).training_batches(epochs=2))


def test_training_batches_differ_by_seed(data):
    assert read(data.training_batches(epochs=1)) != read(replace(data, seed=1).training_batches(epochs=1))


def test_a_later_first_epoch_gives_the_same_batches_to_the_byte(data):
    augmentation = Augmentation(flip_rate=0.5, shift=0.3, brightness=0.3, erase_rate=0.5)
    whole = list(data.training_batches(epochs=3, augmentation=augmentation))
    later = list(data.training_batches(epochs=2, augmentation=augmentation, first_epoch=1))
    assert len(whole) == 9
    assert len(later) == 6
    for (images, labels), (later_images, later_labels) in zip(whole[3:], later, strict=True):
        assert images.numpy().tobytes() == later_images.numpy().tobytes()
        assert labels.numpy().tobytes() == later_labels.numpy().tobytes()


def test_augmentation_differs_by_epoch_and_by_seed(data):
    augmentation = Augmentation(brightness=0.3)
    one_batch = replace(data, batch_size=24)

    def brightnesses(data):
        return [
            np.sort(images.numpy()[:, 1, 1, 0])
            for images, _ in data.training_batches(epochs=2, augmentation=augmentation)
        ]

    first, second = brightnesses(one_batch)
    other, _ = brightnesses(replace(one_batch, seed=1))
    assert (first != second).any()
    assert (first != other).any()


def test_without_augmentation_training_pixels_are_the_images(data):
    (images, _), *_ = data.training_batches(epochs=1)
    for image in images.numpy():
        np.testing.assert_array_equal(image, data.splits["train"].images[image[0, 0, 0]])


def test_batches_have_a_static_shape(data):
    images, labels = data.training_batches(epochs=1, augmentation=Augmentation(shift=0.1)).element_spec
    assert images.shape == (8, 4, 4, 3)
    assert labels.shape == (8,)


def test_steps_per_epoch_counts_whole_batches(data):
    assert data.steps_per_epoch == 3
    assert replace(data, batch_size=10).steps_per_epoch == 2


def test_a_limit_keeps_that_many_of_each_split_and_smaller_ones_whole(data):
    limited = data.limit(8)
    assert {name: len(split) for name, split in limited.splits.items()} == {"train": 8, "validation": 7, "test": 8}
    assert limited.class_names == data.class_names


def test_a_limit_keeps_images_with_their_labels_and_repeats_none(data):
    split = data.limit(8).splits["train"]
    numbers = split.images[:, 0, 0, 0]
    assert len(set(numbers.tolist())) == 8
    assert (numbers % 3 == split.labels).all()


def test_a_limit_is_drawn_by_seed(data):
    assert data.limit(8).fingerprint == data.limit(8).fingerprint
    assert data.limit(8).fingerprint != replace(data, seed=1).limit(8).fingerprint


@pytest.mark.parametrize("count", [0, -3])
def test_a_limit_below_one_is_refused(data, count):
    with pytest.raises(DataError, match=f"limit of {count} images"):
        data.limit(count)


def test_the_fingerprint_knows_every_pixel_label_and_class_name(data):
    def changed(name, change):
        split = Split(data.splits[name].images.copy(), data.splits[name].labels.copy())
        change(split)
        return replace(data, splits={**data.splits, name: split})

    others = [replace(data, class_names=("cat", "dog", "cow"))]
    for name in data.splits:
        others.append(changed(name, lambda split: split.images.__setitem__((-1, -1, -1, -1), 1)))
        others.append(changed(name, lambda split: split.labels.__setitem__(-1, (split.labels[-1] + 1) % 3)))
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 8


def test_the_fingerprint_knows_the_shape_of_the_images(data):
    def reshaped(split):
        return Split(split.images.reshape(-1, 2, 8, 3), split.labels)

    wide = replace(data, splits={name: reshaped(split) for name, split in data.splits.items()})
    assert wide.fingerprint != data.fingerprint


def test_the_fingerprint_does_not_know_name_batch_size_seed_or_kind_of_labels(data):
    splits = {name: Split(split.images, split.labels.astype("int8")) for name, split in data.splits.items()}
    other = replace(data, name="other", batch_size=3, seed=7, notes=("a note",), splits=splits)
    assert other.fingerprint == data.fingerprint
