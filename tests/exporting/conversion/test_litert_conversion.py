"""The converter's own reason reaches the user, and an operator that LiteRT lacks is named."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from explain.families import COVERING, small_model

import vit_keras as vk
from vit_keras.exporting.litert import LiteRTRuntime
from vit_keras.zoo.load_model import open_model

if keras.backend.backend() != "tensorflow":
    pytest.skip("conversions run in a TensorFlow process", allow_module_level=True)

import tensorflow as tf

from vit_keras.errors import VitKerasError
from vit_keras.exporting.conversion.litert_conversion import convert, read_operators


class Erfc(keras.layers.Layer):
    """An operator that LiteRT does not have."""

    def call(self, values):
        return tf.math.erfc(values)


def test_a_failure_is_told_in_one_sentence_without_the_program(tmp_path):
    inputs = keras.Input((4, 4, 3))
    opened = SimpleNamespace(model=keras.Model(inputs, keras.layers.Flatten()(Erfc()(inputs))))
    file = tmp_path / "model.tflite"
    with pytest.raises(VitKerasError) as caught:
        convert(opened, file, output="features", precision="float32", images=None, log=tmp_path / "log.txt")
    assert str(caught.value) == (
        "LiteRT could not convert the model: 'tf.Erfc' op is neither a custom op nor a flex op"
    )
    assert not file.exists()


def test_operators_are_listed_and_one_that_is_not_built_in_is_refused():
    def converted(function, *, custom):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
        converter.allow_custom_ops = custom
        return converter.convert()

    @tf.function(input_signature=[tf.TensorSpec((2, 3))])
    def plain(values):
        return tf.nn.softmax(values) + 1

    @tf.function(input_signature=[tf.TensorSpec((2, 3))])
    def other(values):
        return tf.math.erfc(values)

    assert read_operators(converted(plain, custom=False)) == ["ADD", "SOFTMAX"]
    with pytest.raises(VitKerasError, match="Erfc"):
        read_operators(converted(other, custom=True))


def convert_family(name, tmp_path, count, *, precision="float32"):
    """A small model of a family, images, its outputs for them, and those of the LiteRT file."""
    model, log = small_model(name), tmp_path / "log.txt"
    config = vk.model_config(model)
    images = np.random.default_rng(1).integers(0, 256, (count, *config.image_size, config.channels), "uint8")
    file, calibration = tmp_path / "model.tflite", images if precision == "int8" else None
    convert(open_model(model), file, output="logits", precision=precision, images=calibration, log=log)
    return np.asarray(model(images.astype("float32"), training=False)), LiteRTRuntime(file)(images)


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERING)
def test_every_field_is_converted_with_builtin_operators(name, tmp_path):
    expected, found = convert_family(name, tmp_path, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERING)
def test_every_field_is_converted_to_static_int8(name, tmp_path):
    """Only that it is: how much accuracy is left shows on a trained model alone, where each export measures it."""
    expected, found = convert_family(name, tmp_path, 40, precision="int8")
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    assert found.dtype == np.float32
    assert len(np.unique(found.round(4), axis=0)) > 20  # pixels were read as pixels: images differ
    file = tmp_path / "model.tflite"
    assert np.int8 in {each["dtype"] for each in Interpreter(str(file)).get_tensor_details()}
    assert {"FULLY_CONNECTED", "BATCH_MATMUL"} & {*read_operators(file.read_bytes())}
