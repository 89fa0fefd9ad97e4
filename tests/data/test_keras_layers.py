"""Why augmentation is not made of Keras' layers: each test holds while Keras does what it names."""

import inspect

import keras
import numpy as np
import pytest

MENDED = "Keras mended this: see whether its layer can take the place of ours"


def called(layer, images):
    return keras.ops.convert_to_numpy(layer(images, training=True))


@pytest.fixture
def copies(rng):
    """The same image 32 times."""
    return np.tile(rng.integers(0, 256, (1, 16, 16, 3)), (32, 1, 1, 1)).astype("float32")


def test_keras_rand_augment_draws_one_operation_a_batch_but_computes_all_and_switches_xla_off(copies, monkeypatch):
    layer, computed = keras.layers.RandAugment(num_ops=1, seed=1), set()
    # Autocontrast and equalization draw nothing more. Were they drawn image by image, 32 would never be alike.
    assert any(len({image.tobytes() for image in called(layer, copies)}) == 1 for _ in range(40)), MENDED
    assert not all(each.supports_jit for each in layer._flatten_layers()), MENDED

    def count(operation):
        transform = operation.transform_images

        def transform_images(*arguments, **options):
            computed.add(operation.name)
            return transform(*arguments, **options)

        monkeypatch.setattr(operation, "transform_images", transform_images)

    for operation in layer._flatten_layers(include_self=False, recursive=False):
        count(operation)
    called(layer, copies)
    assert len(computed) >= 10, MENDED


def test_keras_random_erasing_erases_half_as_often_as_its_factor():
    images = np.full((4000, 8, 8, 1), 7, "float32")
    erased = called(keras.layers.RandomErasing(factor=0.5, scale=(0.1, 0.3), seed=1), images)
    assert 0.2 < (erased != images).any(axis=(1, 2, 3)).mean() < 0.3, MENDED


def test_keras_random_crop_cuts_every_image_of_a_batch_at_one_place_and_does_not_resize(copies):
    cropped = called(keras.layers.RandomCrop(8, 8, seed=1), copies)
    assert len({image.tobytes() for image in cropped}) == 1, MENDED
    assert not hasattr(keras.layers, "RandomResizedCrop"), MENDED


def test_keras_cut_mix_says_another_share_than_its_pixels():
    images = np.arange(64, dtype="float32").reshape(64, 1, 1, 1) * np.ones((1, 16, 16, 1), "float32")
    layer = keras.layers.CutMix(factor=(1.0, 1.0), seed=1)
    mixed = layer({"images": images, "labels": np.eye(64, dtype="float32")}, training=True)
    pixels, targets = (keras.ops.convert_to_numpy(mixed[name]) for name in ("images", "labels"))
    assert np.abs((pixels == images).mean(axis=(1, 2, 3)) - np.diagonal(targets)).max() > 0.03, MENDED


def test_keras_mixes_every_image():
    for layer in (keras.layers.CutMix, keras.layers.MixUp):
        known = set(inspect.signature(layer).parameters)
        assert known <= {"alpha", "factor", "seed", "data_format", "kwargs"}, MENDED


@pytest.mark.parametrize("name", ["RandAugment", "RandomFlip", "RandomErasing"])
def test_what_a_keras_layer_draws_depends_on_the_batches_before(copies, name):
    layer = getattr(keras.layers, name)(seed=1)
    results = [called(layer, copies).tobytes() for _ in range(4)]
    assert len(set(results)) > 1, MENDED  # the same batch: only the layer's state is another
