"""Layers of the user's own behind a model: saved, loaded, rebuilt, explained and fine-tuned with it."""

import json
import shutil

import keras
import numpy as np
import oracle
import pytest
from backends import forward, only_elsewhere

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError, UnsafeFileError, WeightMismatchError
from vit_keras.models.vit import model_num_classes
from vit_keras.models.wiring import read_model
from vit_keras.training.transfer.features import extract_features
from vit_keras.training.transfer.freezing import set_trainable
from vit_keras.training.transfer.linear_probe import LinearProbe
from vit_keras.training.transfer.lora import add_lora, merge_lora
from vit_keras.weights import load

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (3, 16, 16, 3)).astype("uint8")


def dense_head(vectors, name="my_head", units=5):
    vectors = keras.layers.Dropout(0.1, name="my_dropout")(vectors)
    vectors = keras.layers.Dense(8, activation="relu", name="my_hidden")(vectors)
    vectors = keras.layers.BatchNormalization(name="my_norm")(vectors)
    return keras.layers.Dense(units, name=name)(vectors)


def behind_the_features():
    base = vk.vit(CONFIG)
    return keras.Model(base.input, dense_head(base.output))


def model_inside():
    base, pixels = vk.vit(CONFIG), keras.Input((16, 16, 3))
    return keras.Model(pixels, dense_head(base(pixels, training=False)))


def sequential():
    return keras.Sequential([keras.Input((16, 16, 3)), vk.vit(CONFIG), keras.layers.Dense(5, activation="softmax")])


def behind(base, head, layer=-1):
    return keras.Model(base.input, head(base.layers[layer].output))


MAKERS = {
    "behind the features": behind_the_features,
    "called head": lambda: behind(vk.vit(CONFIG), lambda vectors: dense_head(vectors, name="head")),
    "cut before the head": lambda: behind(vk.vit(CONFIG, num_classes=7), dense_head, layer=-2),
    "softmax": lambda: behind(vk.vit(CONFIG, num_classes=5), keras.layers.Softmax()),
    "model inside": model_inside,
    "sequential": sequential,
    "two heads": lambda: behind(
        vk.vit(CONFIG.replace(distillation_token=True), num_classes=7), keras.layers.Dense(5, name="my_head")
    ),
}


def outputs(model, images):
    return keras.ops.convert_to_numpy(forward(model, images))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize("kind", only_elsewhere(MAKERS, "behind the features"))
def test_a_model_with_an_own_head_is_read_saved_loaded_rebuilt_and_explained(kind, images, tmp_path):
    model = oracle.randomize(MAKERS[kind]())
    expected = outputs(model, images)
    assert vk.model_config(model).replace(distillation_token=False) == CONFIG
    assert model_num_classes(model) == 5

    directory = vk.save_preset(model, tmp_path / "mine", class_names=list("abcde"))
    for again in (vk.from_preset(directory), vk.rebuild(model, stochastic_depth_rate=0.1)):
        np.testing.assert_allclose(outputs(again, images), expected, rtol=1e-5, atol=1e-6)
        assert model_num_classes(again) == 5

    relevance = vk.explain.class_relevance(model, images, classes=4)
    assert relevance.shape == (3, 2, 2)
    assert relevance.any()
    assert vk.explain.block_features(model, images).shape[-1] == 16
    assert vk.explain.attention_rollout(model, images).shape == (3, 2, 2)
    passed = vk.explain.anatomy(model, images[0])
    np.testing.assert_allclose(passed.output, expected[0], rtol=1e-4, atol=1e-5)
    ends_in_softmax = kind in ("softmax", "sequential")
    logits = softmax(passed.logits) if ends_in_softmax else passed.logits
    np.testing.assert_allclose(logits, passed.output, rtol=1e-4, atol=1e-5)


@pytest.mark.any_backend
def test_other_classes_renew_the_last_dense_layer_alone(images, tmp_path):
    model = oracle.randomize(behind_the_features())
    directory = vk.save_preset(model, tmp_path / "mine")
    for other in (vk.rebuild(model, num_classes=3), vk.from_preset(directory, num_classes=3)):
        assert model_num_classes(other) == 3
        assert not np.any(other.get_layer("my_head").kernel)
        for name in ("my_hidden", "my_norm", "block_01"):
            mine, theirs = model.get_layer(name).get_weights(), other.get_layer(name).get_weights()
            for ours, old in zip(theirs, mine, strict=True):
                np.testing.assert_array_equal(ours, old)
    assert vk.rebuild(model, num_classes=0).output_shape == (None, 16)
    with pytest.raises(WeightMismatchError, match=r"own head was trained on features of {'pooling': 'token'}"):
        vk.rebuild(model, pooling="mean")
    with pytest.raises(WeightMismatchError, match=r"trained on features of pooling='token'.*pooling='mean'"):
        vk.from_preset(directory, pooling="mean")


@pytest.mark.any_backend
def test_a_chain_without_a_dense_layer_gets_one_behind_it(images):
    base = oracle.randomize(vk.vit(CONFIG))
    model = keras.Model(base.input, keras.layers.UnitNormalization(name="unit")(base.output))
    assert model_num_classes(model) is None
    other = vk.rebuild(model, num_classes=4)
    assert [layer.name for layer in other.layers][-2:] == ["unit", "head"]
    features = outputs(model, images)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(outputs(keras.Model(other.input, other.layers[-2].output), images), features)


@pytest.mark.any_backend
def test_a_regularizer_stays_when_rebuilt_and_is_refused_where_it_would_be_lost(tmp_path):
    base = vk.vit(CONFIG)
    head = keras.layers.Dense(5, kernel_regularizer=keras.regularizers.L2(0.1), name="head")
    model = keras.Model(base.input, head(base.output))
    assert vk.rebuild(model).get_layer("head").kernel_regularizer.l2 == pytest.approx(0.1)
    with pytest.raises(
        InvalidArgumentError, match=r"'head' can't be saved in a preset directory: its kernel_regularizer"
    ):
        vk.save_preset(model, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_what_trains_is_chosen_with_the_own_head(images):
    for make in (behind_the_features, model_inside):
        model = make()
        set_trainable(model, "head")
        names = {weight.path for weight in model.trainable_weights}
        assert {name.split("/")[0] for name in names} == {"my_hidden", "my_norm", "my_head"}
        assert len(names) == 6
        adapted = add_lora(oracle.randomize(model))
        np.testing.assert_allclose(outputs(adapted, images), outputs(model, images), rtol=1e-5, atol=1e-6)
        assert any("adapter_down" in weight.path for weight in adapted.trainable_weights)
        np.testing.assert_allclose(outputs(merge_lora(adapted), images), outputs(model, images), rtol=1e-5, atol=1e-6)


def test_a_linear_probe_of_an_own_head_sees_and_fills_its_last_dense_layer(images, rng):
    model = oracle.randomize(behind_the_features())
    features = extract_features(model, vk.data.Split(images, np.zeros(3, "int32")))
    inside = outputs(keras.Model(model.input, model.get_layer("my_norm").output), images)
    np.testing.assert_allclose(features, inside, rtol=1e-5, atol=1e-6)
    probe = LinearProbe(rng.normal(size=(8, 5)).astype("float32"), rng.normal(size=5).astype("float32"), 1.0, {})
    probe.apply_to(model)
    np.testing.assert_allclose(outputs(model, images), probe.logits(features), rtol=1e-4, atol=1e-5)


@pytest.mark.any_backend
def test_finetuning_keeps_own_layers_trains_on_logits_and_says_both(images, tmp_path, capsys):
    model = oracle.randomize(sequential())
    labels = np.arange(24) % 3
    result = vk.finetune(
        model, (np.repeat(images, 8, 0), labels), validation=(images, labels[:3]), epochs=1, method="linear_probe", run_dir=tmp_path / "run",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "but dense" in said
    assert "is new, for 3 classes" in said
    assert "the softmax at the end is left out" in said
    end = result.model.layers[-1]
    assert (end.units, end.activation) == (3, keras.activations.linear)


@pytest.mark.any_backend
def test_a_checkpoint_without_the_own_head_leaves_it_and_says_so(tmp_path):
    base, model = oracle.randomize(vk.vit(CONFIG)), oracle.randomize(behind_the_features(), seed=5)
    before = model.get_layer("my_hidden").get_weights()[0]
    notes = load(model, vk.save_preset(base, tmp_path / "base")).notes
    assert any("my_hidden/kernel" in note for note in notes)
    np.testing.assert_array_equal(model.get_layer("my_hidden").get_weights()[0], before)
    filled, saved = (each.get_layer("block_00").get_weights()[0] for each in (model, base))
    np.testing.assert_array_equal(filled, saved)


@pytest.mark.any_backend
def test_what_a_model_ends_in_is_saved_and_may_be_asked_for(images, tmp_path):
    built = vk.vit(CONFIG, num_classes=4, classifier_activation="softmax")
    for name, model in (("built", built), ("own", sequential())):
        directory = vk.save_preset(oracle.randomize(model), tmp_path / name)
        probabilities = outputs(vk.from_preset(directory), images)
        np.testing.assert_array_equal(probabilities, outputs(model, images))
        logits = outputs(vk.from_preset(directory, classifier_activation="linear"), images)
        np.testing.assert_allclose(softmax(logits), probabilities, rtol=1e-5)
    made = vk.from_preset("vit_pico_patch4_32", num_classes=3, classifier_activation="softmax")
    assert read_model(made).classifier_activation == "softmax"


@pytest.mark.any_backend
def test_two_models_of_one_preset_stand_in_one_model_by_their_names():
    towers = [vk.from_preset("vit_pico_patch4_32", name=name) for name in ("rgb", "infrared")]
    inputs = [keras.Input((32, 32, 3)) for _ in towers]
    joined = keras.Model(inputs, [tower(pixels) for tower, pixels in zip(towers, inputs, strict=True)])
    assert [layer.name for layer in joined.layers if isinstance(layer, keras.Model)] == ["rgb", "infrared"]


DENSE = {"layer": "Dense", "name": "x", "units": 5, "activation": "relu", "use_bias": True}


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("own_head", "error", "message"),
    [
        ([{"class_name": "Lambda", "config": {}}], UnsafeFileError, "name code"),
        ([{"layer": "Lambda", "name": "x"}], InvalidArgumentError, "not an allowed layer"),
        ([{"layer": "TorchModuleWrapper", "name": "x"}], InvalidArgumentError, "not an allowed layer"),
        ([{**DENSE, "activation": "mine>evil"}], InvalidArgumentError, "activation="),
        ([{**DENSE, "units": 2**30}], InvalidArgumentError, "units="),
        ([{**DENSE, "name": "../x"}], InvalidArgumentError, "name="),
        ([{**DENSE, "kernel_initializer": "mine"}], InvalidArgumentError, "expected exactly"),
        ([{"layer": "Dropout", "name": "x", "rate": 7.0}], InvalidArgumentError, "rate"),
        ([{**DENSE, "units": 6}], InvalidArgumentError, "num_classes is 5, and own_head gives 6"),
        ("Dense", InvalidArgumentError, "expected a list"),
    ],
)
def test_a_directory_s_own_head_that_is_not_plain_data_is_refused(own_head, error, message, saved, tmp_path):
    directory = shutil.copytree(saved, tmp_path / "mine")
    path = directory / "config.json"
    config = json.loads(path.read_text())
    assert [layer["layer"] for layer in config["own_head"]] == ["Dropout", "Dense", "BatchNormalization", "Dense"]
    path.write_text(json.dumps({**config, "own_head": own_head}))
    with pytest.raises(error, match=message):
        vk.from_preset(directory)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory of a model with an own head."""
    directory = tmp_path_factory.mktemp("presets") / "mine"
    return vk.save_preset(behind_the_features(), directory, class_names=list("abcde"))


@pytest.mark.any_backend
def test_other_libraries_get_no_model_without_its_own_head(tmp_path, saved, run):
    for to in ("timm", "huggingface"):
        code, _, said = run("convert", saved, tmp_path / "theirs", "--to", to)
        assert code == 2
        assert "layers of your own, ['my_dropout', 'my_hidden', 'my_norm', 'my_head']" in " ".join(said.split())
        assert not (tmp_path / "theirs").exists()
