import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import ConvStem


def test_contract(tmp_path):
    check_layer(ConvStem(4, 8), (2, 8, 8, 3), tmp_path)


@pytest.mark.parametrize(("patch_size", "shape"), [(2, (2, 8, 8, 3)), (4, (2, 8, 16, 3))])
def test_equals_the_oracle(patch_size, shape):
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    stem = ConvStem(patch_size, 8)
    stem.build(shape)
    expected = oracle.conv_stem(images, patch_size, oracle.weights_of(oracle.randomise(stem)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(stem(images)), expected, rtol=1e-5, atol=1e-5)


def test_widths_double_up_to_the_last():
    stem = ConvStem(8, 32)
    stem.build((None, 8, 8, 3))
    kernels = [weight.shape for weight in stem.weights if weight.path.endswith("kernel")]
    assert kernels == [(3, 3, 3, 8), (3, 3, 8, 16), (3, 3, 16, 32)]


def test_training_normalises_the_batch_and_moves_the_averages_a_tenth_of_the_way():
    images = np.random.default_rng(0).normal(3, 2, size=(4, 4, 4, 1)).astype("float32")
    stem = ConvStem(2, 2)
    stem.build(images.shape)
    convolved = keras.ops.convert_to_numpy(stem.convolutions[0](images))
    cells = keras.ops.convert_to_numpy(stem(images, training=True))
    normed = (convolved - convolved.mean((0, 1, 2))) / np.sqrt(convolved.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(cells, np.maximum(normed, 0).reshape(4, 4, 2), rtol=1e-5, atol=1e-5)
    moving_mean = keras.ops.convert_to_numpy(stem.norms[0].moving_mean)
    np.testing.assert_allclose(moving_mean, 0.1 * convolved.mean((0, 1, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["patch_size", "hidden_dim"])
def test_refuses_sizes_that_are_no_positive_whole_numbers(name):
    with pytest.raises(ValueError, match=rf"ConvStem needs positive whole numbers, not {name}=0"):
        ConvStem(**{"patch_size": 4, "hidden_dim": 8, name: 0})


@pytest.mark.parametrize(("patch_size", "hidden_dim"), [(1, 8), (6, 8), (12, 24), (16, 4)])
def test_refuses_what_halving_does_not_reach(patch_size, hidden_dim):
    message = rf"patch_size={patch_size} must be a power of two, and half of it must divide hidden_dim={hidden_dim}\."
    with pytest.raises(ValueError, match=message):
        ConvStem(patch_size, hidden_dim)


def test_refuses_what_is_no_image_of_known_size():
    with pytest.raises(ValueError, match=r"ConvStem takes images of shape .* it got \(None, 8, None, 3\)"):
        ConvStem(4, 8)(keras.Input((8, None, 3)))


def test_refuses_images_that_whole_cells_do_not_fill():
    with pytest.raises(
        ValueError, match=r"Images of 8x10 px can't be halved to whole cells of 4 px\. Resize them to a multiple of 4"
    ):
        ConvStem(4, 8)(keras.Input((8, 10, 3)))
