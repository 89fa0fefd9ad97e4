import hashlib
import json
import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from PIL import Image

import vit_keras as vk
from vit_keras.data import Augmentation, ImageData, Preprocessing, Split
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.data.dataset.pipeline import TrainingOrder, make_training_image, preview_batch
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.sources.folder import read_folder
from vit_keras.errors import InvalidArgumentError, StorageError, TooManyBadFilesError
from vit_keras.runtime.tensorflow_host import stay_on_host

RULE = Preprocessing(image_size=(24, 32))
STRONG = STRENGTHS["strong"]


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory):
    """Two classes of 24 noisy JPEGs of several sizes, some on their side."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(5)
    for number in range(48):
        size = rng.integers(40, 90, 2)
        image = Image.fromarray(rng.integers(0, 256, (*size, 3)).astype("uint8")).resize((64, 48))
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        path = root / ("cat" if number % 2 else "dog") / f"{number:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        image.save(path, exif=exif)
    return root


@pytest.fixture
def data(photo_folder):
    return vk.data.load(photo_folder, preprocessing=RULE, batch_size=6, seed=3)


def digests(batches):
    return [
        hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest() for images, labels in batches
    ]


@pytest.mark.parametrize("name", STRENGTHS)
def test_the_same_seed_epoch_and_step_give_the_same_bytes_from_wherever_one_starts(data, name):
    whole = digests(data.training_batches(epochs=2, augmentation=name))
    steps = data.steps_per_epoch
    assert len(whole) == 2 * steps
    assert len(set(whole)) == len(whole)
    assert digests(data.training_batches(epochs=1, augmentation=name, first_epoch=1)) == whole[steps:]
    later = data.training_batches(epochs=1, augmentation=name, first_epoch=1, first_step=2)
    assert digests(later) == whole[steps + 2 :]


@pytest.mark.slow
def test_the_bytes_are_the_same_in_a_fresh_process_whatever_the_number_of_threads(photo_folder, data):
    program = textwrap.dedent(
        """
        import hashlib, json, sys
        import tensorflow as tf
        tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[2]))
        import vit_keras as vk
        rule = vk.data.Preprocessing(image_size=(24, 32))
        data = vk.data.load(sys.argv[1], preprocessing=rule, batch_size=6, seed=3)
        batches = data.training_batches(epochs=1, augmentation="strong")
        print(json.dumps([hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest() for x, y in batches]))
        """
    )
    for threads in ("1", "4"):
        answer = subprocess.run(
            [sys.executable, "-c", program, photo_folder, threads], capture_output=True, text=True, check=True
        )
        assert json.loads(answer.stdout) == digests(data.training_batches(epochs=1, augmentation="strong"))


def test_another_seed_gives_other_bytes(photo_folder, data):
    other = vk.data.load(photo_folder, preprocessing=RULE, batch_size=6, seed=4)
    assert digests(data.training_batches(epochs=1, augmentation="light")) != digests(
        other.training_batches(epochs=1, augmentation="light")
    )


def test_an_epoch_sees_every_image_once_but_for_what_fills_no_batch(photo_folder):
    data = vk.data.load(photo_folder, preprocessing=RULE, batch_size=19, split=(0.1, 0.1))
    count = len(data.splits["train"])
    batches = list(data.training_batches(epochs=1))
    seen = {image.tobytes() for images, _ in batches for image in images.numpy()}
    assert len(seen) == 19 * (count // 19)


def test_each_label_is_of_its_image(data):
    known = {
        data.splits["train"].image(index).tobytes(): label for index, label in enumerate(data.splits["train"].labels)
    }
    for images, labels in data.training_batches(epochs=1):
        assert [known[image.tobytes()] for image in images.numpy()] == labels.numpy().tolist()


def test_repeats_are_copies_of_one_image_changed_in_ways_of_their_own(photo_folder):
    data = vk.data.load(photo_folder, preprocessing=RULE, batch_size=12, seed=1)
    plain = next(iter(data.training_batches(epochs=1, augmentation=Augmentation(repeats=3))))[0].numpy()
    assert len({image.tobytes() for image in plain}) == 4
    assert all((plain[start] == plain[start + 1]).all() for start in range(0, 12, 3))
    cropped = Augmentation(repeats=3, crop_scale=(0.2, 0.5))
    images = next(iter(data.training_batches(epochs=1, augmentation=cropped)))[0].numpy()
    assert len({image.tobytes() for image in images}) == 12


def test_more_repeats_than_a_batch_holds_are_refused(data):
    with pytest.raises(InvalidArgumentError, match="7 copies of an image don't fit into batches of 6"):
        data.training_batches(epochs=1, augmentation=Augmentation(repeats=7))


def test_shapes_are_static_and_mixed_targets_have_a_column_a_class(data):
    images, targets = data.training_batches(epochs=1, augmentation="strong").element_spec
    assert images.shape == (6, 24, 32, 3)
    assert targets.shape == (6, 2)
    assert data.training_batches(epochs=1, augmentation="light").element_spec[1].shape == (6,)


def test_a_batch_that_is_only_cropped_and_mirrored_stays_bytes(data):
    assert data.training_batches(epochs=1, augmentation="light").element_spec[0].dtype.name == "uint8"


def test_a_crop_is_a_part_of_the_image_mirrored_or_not(tmp_path):
    for name in ("a", "b"):
        for index in range(3):
            path = tmp_path / name / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            ramp = np.broadcast_to(np.arange(64, dtype="uint8")[None, :, None] * 4, (64, 64, 3)).copy()
            ramp[0, 0] = index
            Image.fromarray(ramp).save(path)
    split = read_folder(tmp_path, preprocessing=Preprocessing(image_size=(16, 16))).splits["train"]
    augmentation = Augmentation(crop_scale=(0.1, 0.3), flip_rate=0.5)
    rises = [
        np.sign(np.diff(make_training_image(split, 0, augmentation, (0, draw))[8, :, 0].astype(int)).mean())
        for draw in range(200)
    ]
    assert set(rises) == {-1.0, 1.0}
    assert 70 < sum(rise > 0 for rise in rises) < 130


def test_the_draws_of_an_image_do_not_hang_on_its_neighbours(data):
    split = data.splits["train"]
    alone = make_training_image(split, 5, STRONG, (3, 17))
    for index in (1, 2, 3):
        make_training_image(split, index, STRONG, (3, index))
    np.testing.assert_array_equal(make_training_image(split, 5, STRONG, (3, 17)), alone)
    assert (make_training_image(split, 5, STRONG, (3, 18)) != alone).any()


def test_images_in_memory_take_crops_and_policies_too(rng):
    splits = {
        name: Split(rng.integers(0, 256, (12, 16, 16, 1)).astype("uint8"), np.arange(12) % 2)
        for name in ("train", "validation", "test")
    }
    data = ImageData(name="grey", class_names=("a", "b"), splits=splits, batch_size=4)
    images, _ = next(
        iter(data.training_batches(epochs=1, augmentation=Augmentation(crop_scale=(0.2, 0.9), policy="3-augment")))
    )
    assert images.shape == (4, 16, 16, 1)


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_evaluation_is_the_same_wherever_images_are_kept(photo_folder, cache):
    expected = vk.data.load(photo_folder, preprocessing=RULE, batch_size=5, seed=3)
    data = vk.data.load(photo_folder, preprocessing=RULE, batch_size=5, seed=3, reading=ReadOptions(cache=cache))
    for _ in range(2):
        assert digests(data.test) == digests(expected.test)
    assert digests(data.training_batches(epochs=1)) == digests(expected.training_batches(epochs=1))
    kinds = {"memory": Split, "disk": Split, "none": type(data.splits["test"])}
    assert isinstance(data.splits["test"].prepared, kinds[cache])


def test_what_is_kept_on_disk_is_found_again_and_mapped(photo_folder, monkeypatch):
    reading = ReadOptions(cache="disk")
    first = vk.data.load(photo_folder, preprocessing=RULE, seed=8, reading=reading).splits["test"].prepared
    monkeypatch.setattr("vit_keras.data.dataset.splits.EncodedSplit.image", None)  # nothing is decoded again
    again = vk.data.load(photo_folder, preprocessing=RULE, seed=8, reading=reading).splits["test"].prepared
    assert isinstance(again.images, np.memmap)
    np.testing.assert_array_equal(first.images, again.images)


def test_a_damaged_cache_file_is_named(photo_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path))
    reading = ReadOptions(cache="disk")
    vk.data.load(photo_folder, preprocessing=RULE, reading=reading).splits["test"].prepared  # noqa: B018 - fills the cache
    (path,) = (tmp_path / "images").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=f"{path.name}.*Remove it"):
        vk.data.load(photo_folder, preprocessing=RULE, reading=reading).splits["test"].prepared  # noqa: B018


def test_nothing_half_written_is_left_in_the_cache(photo_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path))

    def interrupted(self, index):
        raise KeyboardInterrupt

    data = vk.data.load(photo_folder, preprocessing=RULE, reading=ReadOptions(cache="disk"))
    monkeypatch.setattr("vit_keras.data.dataset.splits.EncodedSplit.image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.splits["test"].prepared  # noqa: B018
    assert list((tmp_path / "images").iterdir()) == []


def test_auto_keeps_on_disk_what_memory_has_no_room_for_and_nothing_where_neither_has(photo_folder, monkeypatch):
    monkeypatch.setattr("vit_keras.data.images.cache._SHARE_OF_MEMORY", 0)
    split = vk.data.load(photo_folder, preprocessing=RULE, seed=11).splits["test"]
    assert isinstance(split.prepared.images, np.memmap)
    monkeypatch.setattr("vit_keras.data.images.cache._SHARE_OF_DISK", 0)
    split = vk.data.load(photo_folder, preprocessing=RULE, seed=12).splits["test"]
    assert split.prepared is split


@pytest.fixture
def fragile(make_folder):
    """A folder whose files may be taken away."""
    return make_folder({"cat": 120, "dog": 120})


def test_a_file_gone_since_the_check_is_replaced_by_one_of_its_class_and_said(fragile):
    data = vk.data.load(fragile, preprocessing=RULE, batch_size=16, reading=ReadOptions(cache="none"))
    split = data.splits["train"]
    gone = 7
    os.remove(split.files.name(gone))
    with pytest.warns(UserWarning, match=r"there is no such file\. Another image of its class stands in"):
        stand_in = split.image(gone)
    alike = [
        split.image(index).tobytes() for index in np.flatnonzero(split.labels == split.labels[gone]) if index != gone
    ]
    assert stand_in.tobytes() in alike
    np.testing.assert_array_equal(split.image(gone), stand_in)  # always the same
    assert list(split.replaced) == [gone]


def test_a_file_changed_since_the_check_is_not_read(fragile):
    split = vk.data.load(fragile, preprocessing=RULE, reading=ReadOptions(cache="none")).splits["train"]
    Image.new("RGB", (99, 99), "lime").save(split.files.name(0))
    with pytest.warns(UserWarning, match="changed since it was checked"):
        assert (split.image(0) != np.array(Image.new("RGB", (32, 24), "lime"))).any()


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(fragile):
    split = vk.data.load(fragile, preprocessing=RULE, reading=ReadOptions(cache="none")).splits["train"]
    os.remove(split.files.name(0))
    os.mkfifo(split.files.name(0))
    with pytest.warns(UserWarning, match="not a file"):
        split.image(0)


def test_training_goes_on_over_a_lost_file_with_the_same_bytes_each_time(fragile):
    data = vk.data.load(fragile, preprocessing=RULE, batch_size=16)
    os.remove(data.splits["train"].files.name(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert digests(data.training_batches(epochs=1, augmentation="light")) == digests(
            data.training_batches(epochs=1, augmentation="light")
        )


def test_more_lost_files_than_allowed_end_in_an_error_that_names_them(fragile):
    data = vk.data.load(fragile, preprocessing=RULE, batch_size=16, reading=ReadOptions(cache="none"))
    split = data.splits["train"]
    for index in range(5):
        os.remove(split.files.name(index))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception, match="images can't be read any more"):
            list(data.training_batches(epochs=1, augmentation="light"))
    with pytest.raises(
        TooManyBadFilesError, match=r"of 192 images can't be read any more, over the limit of 1%"
    ) as caught:
        data.check_readable()
    assert "there is no such file" in str(caught.value)


def test_the_gpus_are_hidden_from_tensorflow_where_keras_runs_on_another_backend(monkeypatch):
    import keras
    import tensorflow as tf

    hidden = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: hidden.append((devices, kind)))
    for backend in ("tensorflow", "jax", "torch"):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        stay_on_host.cache_clear()
        stay_on_host()
    assert hidden == [([], "GPU")] * 2
    stay_on_host.cache_clear()


@pytest.mark.parametrize("name", STRENGTHS)
def test_what_is_shown_is_what_training_sees(data, name):
    augmentation, count = STRENGTHS[name], len(data.class_names)
    images, targets = next(iter(data.training_batches(epochs=1, augmentation=name, first_step=3)))
    order = TrainingOrder(count=len(data.splits["train"]), batch_size=6, steps_per_epoch=data.steps_per_epoch, seed=3)
    chosen = order.indices(np.int64(3)).numpy().tolist()
    shown, shares = preview_batch(data.splits["train"], chosen, augmentation, num_classes=count, seed=3, step=3)
    np.testing.assert_allclose(shown, images.numpy(), atol=1e-3)
    expected = targets.numpy() if augmentation.mixes else np.eye(count)[targets.numpy()]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
