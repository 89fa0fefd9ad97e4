import keras
import numpy as np
import pytest
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.pretraining.teacher import open_teacher
from vit_keras.zoo.save_preset import save_preset

pytestmark = pytest.mark.any_backend

DENSE = keras.layers.Dense


def model_of(*layers, channels=3):
    return keras.Sequential([keras.Input((12, 12, channels)), *layers])


def numpy_outputs(teacher, images):
    return [None if each is None else ops.convert_to_numpy(each) for each in teacher(ops.convert_to_tensor(images))]


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (2, 16, 16, 3)).astype("uint8")


@pytest.mark.parametrize("classes", [None, 3])
def test_a_vit_keras_model_gives_what_its_head_gets_and_its_patches(tiny_config, images, classes, tmp_path):
    model = vit(tiny_config, num_classes=classes)
    teacher = open_teacher(model, channels=3)
    pooled, patches = numpy_outputs(teacher, images)
    norm = keras.Model(model.input, [model.get_layer("final_norm").output, model.get_layer("pooling").output])
    tokens, expected = (ops.convert_to_numpy(each) for each in norm(images))
    np.testing.assert_allclose(pooled, expected, atol=1e-5)
    np.testing.assert_allclose(patches.reshape(2, 4, 16), tokens[:, -4:], atol=1e-5)
    assert (teacher.pooled_dim, teacher.patch_dim, teacher.image_size) == (16, 16, (16, 16))
    if classes is None:  # by name
        named = open_teacher(save_preset(model, tmp_path / "teacher"), channels=3)
        np.testing.assert_allclose(numpy_outputs(named, images)[0], pooled, atol=1e-5)


def test_images_are_turned_into_what_the_teacher_takes(rng):
    mean = model_of(keras.layers.GlobalAveragePooling2D())
    teacher = open_teacher(mean, channels=1, pixel_range=(-1, 1))
    images = np.full((2, 6, 6, 1), 255, "uint8")
    images[1] = 51
    pooled, patches = numpy_outputs(teacher, images)
    np.testing.assert_allclose(pooled, [[1, 1, 1], [-0.6, -0.6, -0.6]], atol=1e-5)
    assert patches is None
    assert teacher.image_size == (12, 12)


def test_maps_and_tokens_of_other_models_are_patches(rng):
    to_map = keras.layers.AveragePooling2D(4)
    images = rng.integers(0, 256, (2, 12, 12, 3)).astype("float32")
    expected = images.reshape(2, 3, 4, 3, 4, 3).mean(axis=(2, 4))
    pooled, patches = numpy_outputs(open_teacher(model_of(to_map), channels=3, pixel_range=(0, 255)), images)
    np.testing.assert_allclose(patches, expected, rtol=1e-5)
    np.testing.assert_allclose(pooled, expected.mean(axis=(1, 2)), rtol=1e-5)
    with_prefix = model_of(
        keras.layers.AveragePooling2D(4), keras.layers.Reshape((9, 3)), keras.layers.ZeroPadding1D((2, 0))
    )
    tokens = open_teacher(with_prefix, channels=3, pixel_range=(0, 255))
    np.testing.assert_allclose(numpy_outputs(tokens, images)[1], expected, rtol=1e-5)


def test_a_model_that_normalizes_pixels_itself_needs_no_range():
    rescaled = model_of(keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D())
    assert open_teacher(rescaled, channels=3).pixel_range == (0, 255)
    with pytest.raises(InvalidArgumentError, match=r"teacher_range=\(0, 255\), \(0, 1\) or \(-1, 1\)"):
        open_teacher(model_of(keras.layers.GlobalAveragePooling2D()), channels=3)
    with pytest.raises(InvalidArgumentError, match="black and white"):
        open_teacher(rescaled, channels=3, pixel_range=(1, 0))


def test_probabilities_are_refused_however_they_are_made():
    pooled = keras.layers.GlobalAveragePooling2D()
    for layers in (
        [DENSE(5, activation="softmax")],
        [DENSE(5), keras.layers.Softmax()],
        [DENSE(5, activation="sigmoid")],
    ):
        with pytest.raises(InvalidArgumentError, match=r"probabilities.*keras.Model\(teacher.input"):
            open_teacher(model_of(pooled, *layers), channels=3, pixel_range=(0, 1))


def test_other_channels_outputs_and_broken_weights_are_refused(tiny_config):
    gray = vit(tiny_config.replace(channels=1))
    with pytest.raises(InvalidArgumentError, match="takes images of 1 channel, and the student's have 3"):
        open_teacher(gray, channels=3)
    flat = keras.Sequential([keras.Input((5,)), DENSE(2)])
    with pytest.raises(InvalidArgumentError, match="must take images"):
        open_teacher(flat, channels=3, pixel_range=(0, 1))
    video = model_of(keras.layers.Reshape((3, 4, 12, 3)))
    with pytest.raises(InvalidArgumentError, match="expected features"):
        open_teacher(video, channels=3, pixel_range=(0, 1))
    broken = vit(tiny_config)
    broken.get_layer("final_norm").gamma.assign(np.full(16, np.nan))
    with pytest.raises(InvalidArgumentError, match="NaN or infinite"):
        open_teacher(broken, channels=3)
    with pytest.raises(InvalidArgumentError, match="packed"):
        open_teacher(vit(tiny_config.replace(max_num_patches=8, position_embedding="learned")), channels=3)
