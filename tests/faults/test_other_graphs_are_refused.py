"""Models that compute something other than what their config builds are refused before anything is written or trained."""

import keras
import numpy as np
import oracle
import pytest

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import TransformerBlock

pytestmark = pytest.mark.any_backend

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


@pytest.fixture(scope="module")
def base():
    return oracle.randomize(vk.vit(CONFIG, num_classes=4))


def called_again(base, *, before=None, **replaced):
    """Returns a model that calls the layers on other pixels, some of them replaced."""
    images = keras.Input((16, 16, 3), name="pixels")
    tokens = before(images) if before else images
    for layer in base.layers[1:]:
        tokens = replaced.get(layer.name, layer)(tokens)
    return keras.Model(images, tokens)


def around(base, *, before=None, after=None):
    """Returns a model that contains the model, between layers."""
    images = keras.Input((16, 16, 3))
    outputs = base(before(images) if before else images)
    return keras.Model(images, after(outputs) if after else outputs)


def two_outputs(base):
    sex = keras.layers.Dense(2, name="sex")(base.get_layer("pooling").output)
    return keras.Model(base.input, [base.output, sex])


def second_input(base):
    more = keras.Input((3,), name="meta")
    return keras.Model([base.input, more], keras.layers.Dense(5)(keras.layers.Concatenate()([base.output, more])))


def residual_behind(base):
    hidden = keras.layers.Dense(4, name="mine")(base.output)
    return keras.Model(base.input, keras.layers.Add(name="sum")([hidden, base.output]))


def own_pooling(base):
    tokens = base.get_layer("final_norm").output
    return keras.Model(base.input, base.get_layer("head")(keras.layers.GlobalAveragePooling1D()(tokens[:, 1:])))


def two_models_inside(base):
    images, other = keras.Input((16, 16, 3)), vk.vit(CONFIG, num_classes=4, name="other")
    return keras.Model(images, keras.layers.Average()([base(images), other(images)]))


class Doubled(TransformerBlock):
    def call(self, tokens, training=None):
        return super().call(tokens, training=training) * 2


def call_of_its_own(base):
    class Mine(type(base)):
        def call(self, images, training=None):
            return super().call(images, training=training) * 2

    return Mine(base.input, base.output)


class Subclassed(keras.Model):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def call(self, images):
        return self.backbone(images)


def block(base):
    return base.get_layer("block_00")


REFUSED = {
    "rescaling in front": (
        lambda base: called_again(base, before=keras.layers.Rescaling(255.0)),
        r"'normalization' reads 'rescaling\w*' \(Rescaling\).*pixel_mean",
    ),
    "rescaling before a model inside": (
        lambda base: around(base, before=keras.layers.Rescaling(255.0)), r"get_layer\('vit'\).*pixel_mean",
    ),
    "sign behind": (
        lambda base: keras.Model(base.input, -base.output), r"'head' is followed by 'negative\w*' \(Negative\).*model\.keras",
    ),
    "two outputs": (two_outputs, r"2 outputs \(head, sex\)"),
    "second input": (second_input, r"2 inputs \(images, meta\)"),
    "residual behind": (residual_behind, r"'sum' \(Add\) reads 'mine' \(Dense\) and 'head' \(Dense\)"),
    "block left out": (
        lambda base: called_again(base, block_00=lambda tokens: tokens), r"'block_01' reads|it has no layer 'block_00'",
    ),
    "block twice": (
        lambda base: called_again(base, block_00=lambda tokens: block(base)(block(base)(tokens))),
        r"'block_00' is used more than once",
    ),
    "other block": (
        lambda base: called_again(base, block_00=TransformerBlock(4, 32, name="block_00")),
        r"'block_00' has num_heads=4 where the other layers need 2",
    ),
    "block of another class": (
        lambda base: called_again(base, block_00=Doubled(2, 32, name="block_00")),
        r"'block_00' is a Doubled where vit builds a TransformerBlock",
    ),
    "own pooling": (own_pooling, r"there is no layer 'pooling'"),
    "always training": (
        lambda base: called_again(base, block_00=lambda tokens: block(base)(tokens, training=True)),
        r"'block_00' is called with training=True",
    ),
    "two models inside": (two_models_inside, r"contains the models vit, other"),
    "one name twice": (
        lambda base: around(base, after=keras.layers.Dense(3, name="head")), r"head name a layer of vit and one after it",
    ),
    "call of its own": (call_of_its_own, r"its class Mine has its own call method"),
    "subclassed": (Subclassed, r"not a functional model"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_the_model_is_refused_before_anything_is_written(kind, base, tmp_path, rng):
    make, message = REFUSED[kind]
    model, images = make(base), rng.integers(0, 256, (8, 16, 16, 3)).astype("uint8")
    uses = [lambda: vk.model_config(model), lambda: vk.save_preset(model, tmp_path / "mine")]
    if kind in ("rescaling in front", "sign behind", "second input"):
        uses += [
            lambda: vk.rebuild(model, stochastic_depth_rate=0.1),
            lambda: vk.explain.class_relevance(model, images),
            lambda: vk.explain.block_features(model, images),
            lambda: vk.finetune(
                model, (images, np.arange(8) % 2), validation=(images, np.arange(8) % 2), run_dir=tmp_path / "run"
            ),
        ]
    for use in uses:
        with pytest.raises(InvalidArgumentError, match=message):
            use()
    assert not any(tmp_path.iterdir())


def test_a_model_of_the_same_layers_called_again_is_accepted(base, rng):
    model, pixels = called_again(base), rng.integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    assert vk.model_config(model) == CONFIG
    np.testing.assert_array_equal(vk.explain.block_features(model, pixels), vk.explain.block_features(base, pixels))
    again, before = (keras.ops.convert_to_numpy(each(pixels)) for each in (vk.rebuild(model), base))
    np.testing.assert_array_equal(again, before)
