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
from vit_keras.data import Augmentation, ImageData, Preprocessing, ReadOptions, Split
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.data.dataset.pipeline import TrainingOrder, make_training_image, preview_batch
from vit_keras.errors import InvalidArgumentError, TooManyBadFilesError
from vit_keras.runtime.tensorflow_host import stay_on_host

RULE = Preprocessing(image_size=(24, 32))
KINDS = ("moved", "light", "strong")  # changes to batches; to single images; both, and mixing


@pytest.fixture
def data(photo_folder):
    return vk.data.load(photo_folder, preprocessing=RULE, batch_size=6, seed=3)


def digests(batches):
    return [hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest() for x, y in batches]


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_epoch_and_step_give_the_same_bytes_from_any_start(data, name):
    whole = digests(data.training_batches(epochs=2, augmentation=name))
    steps = data.steps_per_epoch
    assert len(set(whole)) == len(whole) == 2 * steps
    later = data.training_batches(epochs=1, augmentation=name, first_epoch=1, first_step=2)
    assert digests(later) == whole[steps + 2 :]


def test_tensorflow_rewrites_no_function_of_ours(data, monkeypatch):
    """That would take most of the time in which a pipeline is made."""
    from tensorflow.python.autograph.impl import api

    rewritten, rewrite = [], api._convert_actual
    monkeypatch.setattr(
        api, "_convert_actual", lambda entity, given: rewritten.append(entity) or rewrite(entity, given)
    )
    for batches in (data.training_batches(epochs=1, augmentation="strong"), data.train, data.validation):
        next(iter(batches))
    assert not rewritten


@pytest.mark.slow
def test_the_bytes_are_the_same_in_another_process_with_another_number_of_threads(photo_folder, data):
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
    command = [sys.executable, "-c", program, photo_folder, "4"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == digests(data.training_batches(epochs=1, augmentation="strong"))


def test_an_epoch_has_every_image_once_with_its_label(data):
    split = data.splits["train"]
    labels_of = {split.image(index).tobytes(): label for index, label in enumerate(split.labels)}
    seen = []
    for images, labels in data.training_batches(epochs=1):
        seen += [image.tobytes() for image in images.numpy()]
        assert [labels_of[image] for image in seen[-6:]] == labels.numpy().tolist()
    assert len(set(seen)) == len(seen) == 6 * (len(split) // 6)


def test_repeats_are_differently_augmented_copies(photo_folder):
    data = vk.data.load(photo_folder, preprocessing=RULE, batch_size=12, seed=1)
    plain = next(iter(data.training_batches(epochs=1, augmentation=Augmentation(repeats=3))))[0].numpy()
    assert len({image.tobytes() for image in plain}) == 4
    assert all((plain[start] == plain[start + 1]).all() for start in range(0, 12, 3))
    cropped = Augmentation(repeats=3, crop_scale=(0.2, 0.5))
    images = next(iter(data.training_batches(epochs=1, augmentation=cropped)))[0].numpy()
    assert len({image.tobytes() for image in images}) == 12
    with pytest.raises(InvalidArgumentError, match="repeats=13 copies of an image do not fit into batches of 12"):
        data.training_batches(epochs=1, augmentation=Augmentation(repeats=13))


def test_shapes_are_static_and_only_mixing_changes_the_targets(data):
    images, targets = data.training_batches(epochs=1, augmentation="strong").element_spec
    assert (images.shape, targets.shape) == ((6, 24, 32, 3), (6, 2))
    images, labels = data.training_batches(epochs=1, augmentation="light").element_spec
    assert (images.shape, images.dtype, labels.shape) == ((6, 24, 32, 3), "uint8", (6,))


def test_a_crop_is_a_part_of_the_image_flipped_or_not(tmp_path):
    ramp = np.broadcast_to(np.arange(64, dtype="uint8")[None, :, None] * 4, (64, 64, 3)).copy()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(3):
            ramp[0, 0] = index
            Image.fromarray(ramp).save(tmp_path / name / f"{index}.png")
    split = vk.data.load(tmp_path, image_size=16).splits["train"]
    augmentation = Augmentation(crop_scale=(0.1, 0.3), flip_rate=0.5)
    rows = [make_training_image(split, 0, augmentation, (0, draw))[8, :, 0].astype(int) for draw in range(200)]
    rises = [np.sign(row[-1] - row[0]) for row in rows]
    assert set(rises) == {-1, 1}
    assert 70 < rises.count(1) < 130


def test_the_draws_of_an_image_do_not_depend_on_other_images(data):
    split, strong = data.splits["train"], STRENGTHS["strong"]
    alone = make_training_image(split, 5, strong, (3, 17))
    for index in (1, 2, 3):
        make_training_image(split, index, strong, (3, index))
    np.testing.assert_array_equal(make_training_image(split, 5, strong, (3, 17)), alone)
    assert (make_training_image(split, 5, strong, (3, 18)) != alone).any()


def test_decoded_images_are_cropped_and_changed_by_policies(rng):
    splits = {
        name: Split(rng.integers(0, 256, (12, 16, 16, 1)).astype("uint8"), np.arange(12) % 2)
        for name in ("train", "validation", "test")
    }
    data = ImageData(name="gray", class_names=("a", "b"), splits=splits, batch_size=4)
    augmentation = Augmentation(crop_scale=(0.2, 0.9), policy="3-augment")
    images, _ = next(iter(data.training_batches(epochs=1, augmentation=augmentation)))
    assert images.shape == (4, 16, 16, 1)


def test_batches_are_the_same_wherever_images_are_cached(photo_folder):
    found = []
    for cache in ("memory", "disk", "none"):
        reading = ReadOptions(cache=cache)
        data = vk.data.load(photo_folder, preprocessing=RULE, batch_size=5, seed=3, reading=reading)
        found += [(digests(data.test), digests(data.training_batches(epochs=1))) for _ in range(2)]
    assert found == found[:1] * 6


def test_training_survives_a_lost_file_but_not_many(make_folder):
    data = vk.data.load(make_folder({"cat": 120, "dog": 120}), preprocessing=RULE, batch_size=16)
    files = data.splits["train"].files
    os.remove(files.name(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = (digests(data.training_batches(epochs=1, augmentation="light")) for _ in range(2))
        assert first == second
        for index in range(4, 8):
            os.remove(files.name(index))
        with pytest.raises(Exception, match="images can no longer be read"):
            list(data.training_batches(epochs=1, augmentation="light"))
    with pytest.raises(TooManyBadFilesError, match=r"of 192 images can no longer be read, over the limit of 1%"):
        data.check_readable()


def test_gpus_are_hidden_from_tensorflow_when_keras_uses_another_backend(monkeypatch):
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


@pytest.mark.parametrize("name", KINDS)
def test_the_preview_is_what_training_sees(data, name):
    augmentation, count = STRENGTHS[name], len(data.class_names)
    images, targets = next(iter(data.training_batches(epochs=1, augmentation=name, first_step=3)))
    order = TrainingOrder(count=len(data.splits["train"]), batch_size=6, steps_per_epoch=data.steps_per_epoch, seed=3)
    chosen = order.indices(np.int64(3)).numpy().tolist()
    shown, shares = preview_batch(data.splits["train"], chosen, augmentation, num_classes=count, seed=3, step=3)
    np.testing.assert_allclose(shown, images.numpy(), atol=1e-3)
    expected = targets.numpy() if augmentation.mixes else np.eye(count)[targets.numpy()]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
