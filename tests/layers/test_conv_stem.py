import keras
import numpy as np
import oracle
import pytest

from vit_keras.layers import ConvStem


@pytest.mark.parametrize(("patch_size", "shape"), [(2, (2, 8, 8, 3)), (4, (2, 8, 16, 3))])
def test_equals_the_oracle(patch_size, shape):
    stem = oracle.build(ConvStem(patch_size, 8), shape)
    expected = oracle.conv_stem(oracle.tokens(*shape), patch_size, oracle.weights_of(stem))
    oracle.assert_close(oracle.call(stem, oracle.tokens(*shape)), expected)


def test_channels_double_up_to_the_last():
    stem = ConvStem(8, 32)
    stem.build((None, 8, 8, 3))
    kernels = [weight.shape for weight in stem.weights if weight.path.endswith("kernel")]
    assert kernels == [(3, 3, 3, 8), (3, 3, 8, 16), (3, 3, 16, 32)]


def test_training_normalizes_the_batch_and_moves_the_averages_by_a_tenth():
    images = oracle.tokens(4, 4, 4, 1) * 2 + 3
    stem = ConvStem(2, 2)
    stem.build(images.shape)
    convolved = oracle.call(stem.convolutions[0], images)
    normed = (convolved - convolved.mean((0, 1, 2))) / np.sqrt(convolved.var((0, 1, 2)) + 1e-5)
    oracle.assert_close(oracle.call(stem, images, training=True), np.maximum(normed, 0).reshape(4, 4, 2))
    oracle.assert_close(keras.ops.convert_to_numpy(stem.norms[0].moving_mean), 0.1 * convolved.mean((0, 1, 2)))
