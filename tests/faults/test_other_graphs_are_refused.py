"""Models that compute something other than what their config builds are refused before anything is written or trained."""

import keras
import numpy as np
import oracle
import pytest

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import TransformerBlock

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


@pytest.fixture(scope="module")
def base():
    return oracle.randomize(vk.vit(CONFIG, num_classes=4))


def called_again(base, pixels, replaced=None):
    """Calls the model's layers again on other pixels, some of them replaced."""
    for layer in base.layers[1:]:
        pixels = (replaced or {}).get(layer.name, layer)(pixels)
    return pixels


def rescaling_in_front(base):
    images = keras.Input((16, 16, 3))
    return keras.Model(images, called_again(base, keras.layers.Rescaling(255.0)(images)))


def rescaling_before_a_model_inside(base):
    images = keras.Input((16, 16, 3))
    return keras.Model(images, base(keras.layers.Rescaling(255.0)(images)))


def sign_behind(base):
    return keras.Model(base.input, -base.output)


def two_outputs(base):
    features = base.get_layer("pooling").output
    return keras.Model(base.input, [base.output, keras.layers.Dense(2, name="sex")(features)])


def second_input(base):
    more = keras.Input((3,), name="meta")
    return keras.Model([base.input, more], keras.layers.Dense(5)(keras.layers.Concatenate()([base.output, more])))


def residual_behind(base):
    hidden = keras.layers.Dense(4, name="mine")(base.output)
    return keras.Model(base.input, keras.layers.Add(name="sum")([hidden, base.output]))


def block_left_out(base):
    images = keras.Input((16, 16, 3))
    tokens = images
    for layer in base.layers[1:]:
        tokens = tokens if layer.name == "block_00" else layer(tokens)
    return keras.Model(images, tokens)


def block_twice(base):
    images = keras.Input((16, 16, 3))
    tokens = images
    for layer in base.layers[1:]:
        tokens = layer(layer(tokens)) if layer.name == "block_00" else layer(tokens)
    return keras.Model(images, tokens)


def other_block(base):
    block = TransformerBlock(4, 32, name="block_00")
    images = keras.Input((16, 16, 3))
    return keras.Model(images, called_again(base, images, {"block_00": block}))


def block_of_another_class(base):
    class Mine(TransformerBlock):
        def call(self, tokens, training=None):
            return super().call(tokens, training=training) * 2

    images = keras.Input((16, 16, 3))
    return keras.Model(images, called_again(base, images, {"block_00": Mine(2, 32, name="block_00")}))


def own_pooling(base):
    tokens = base.get_layer("final_norm").output
    return keras.Model(base.input, base.get_layer("head")(keras.layers.GlobalAveragePooling1D()(tokens[:, 1:])))


def always_training(base):
    images = keras.Input((16, 16, 3))
    tokens = images
    for layer in base.layers[1:]:
        tokens = layer(tokens, training=True) if layer.name == "block_00" else layer(tokens)
    return keras.Model(images, tokens)


def two_models_inside(base):
    images = keras.Input((16, 16, 3))
    other = vk.vit(CONFIG, num_classes=4, name="other")
    return keras.Model(images, keras.layers.Average()([base(images), other(images)]))


def one_name_twice(base):
    images = keras.Input((16, 16, 3))
    return keras.Model(images, keras.layers.Dense(3, name="head")(base(images)))


def call_of_its_own(base):
    class Mine(type(base)):
        def call(self, images, training=None):
            return super().call(images, training=training) * 2

    return Mine(base.input, base.output)


def subclassed(base):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.backbone = base

        def call(self, images):
            return self.backbone(images)

    return Mine()


REFUSED = {
    rescaling_in_front: r"'normalization' reads 'rescaling\w*' \(Rescaling\).*pixel_mean",
    rescaling_before_a_model_inside: r"get_layer\('vit'\).*pixel_mean",
    sign_behind: r"'head' is followed by 'negative\w*' \(Negative\).*model\.keras",
    two_outputs: r"2 outputs \(head, sex\)",
    second_input: r"2 inputs \(images, meta\)",
    residual_behind: r"'sum' \(Add\) reads 'mine' \(Dense\) and 'head' \(Dense\)",
    block_left_out: r"'block_01' reads|it has no layer 'block_00'",
    block_twice: r"'block_00' is used more than once",
    other_block: r"'block_00' has num_heads=4 where the other layers need 2",
    block_of_another_class: r"'block_00' is a Mine where vit builds a TransformerBlock",
    own_pooling: r"there is no layer 'pooling'",
    always_training: r"'block_00' is called with training=True",
    two_models_inside: r"contains the models \['vit', 'other'\]",
    one_name_twice: r"\['head'\] name a layer of vit and one after it",
    call_of_its_own: r"its class Mine has its own call method",
    subclassed: r"not a functional model",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_the_model_is_refused_before_anything_is_written(make, base, tmp_path):
    model, message = make(base), REFUSED[make]
    with pytest.raises(InvalidArgumentError, match=message):
        vk.model_config(model)
    with pytest.raises(InvalidArgumentError, match=message):
        vk.save_preset(model, tmp_path / "mine")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("make", [rescaling_in_front, sign_behind, second_input], ids=lambda make: make.__name__)
def test_functions_that_would_silently_drop_a_layer_refuse_it_too(make, base, tmp_path, rng):
    model, message = make(base), REFUSED[make]
    images = rng.integers(0, 256, (8, 16, 16, 3)).astype("uint8")
    for use in (
        lambda: vk.rebuild(model, stochastic_depth_rate=0.1),
        lambda: vk.explain.class_relevance(model, images),
        lambda: vk.explain.block_features(model, images),
        lambda: vk.finetune(model, (images, np.arange(8) % 2), validation=(images, np.arange(8) % 2), run_dir=tmp_path / "run"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgumentError, match=message):
            use()
    assert not any(tmp_path.iterdir())


def test_a_model_of_the_same_layers_called_again_is_accepted(base, rng):
    images = keras.Input((16, 16, 3), name="pixels")
    model = keras.Model(images, called_again(base, images))
    pixels = rng.integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    assert vk.model_config(model) == CONFIG
    np.testing.assert_array_equal(vk.explain.block_features(model, pixels), vk.explain.block_features(base, pixels))
    again, before = (keras.ops.convert_to_numpy(each(pixels)) for each in (vk.rebuild(model), base))
    np.testing.assert_array_equal(again, before)
