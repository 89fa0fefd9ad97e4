import keras
import numpy as np
import pytest
from contracts import JIT

from vit_keras import save_preset, vit
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.optim.optimizers import AdamW
from vit_keras.training.transfer.freezing import CHOICES, set_trainable, trainable_params
from vit_keras.training.transfer.lora import add_lora

# Computed by hand for hidden_dim 16, mlp_dim 32, two blocks, patches of 8x8x3 and three classes.
HEAD = 16 * 3 + 3
BLOCK_BIASES = 3 * 16 + 16 + 32 + 16 + 2 * 16
BLOCK = 16 * 48 + 16 * 16 + 16 * 32 + 32 * 16 + BLOCK_BIASES + 2 * 16
RANK_2 = 2 * ((16 + 48) + (16 + 16) + (16 + 32) + (32 + 16))
TRAINED = {
    "full": 8 * 8 * 3 * 16 + 16 + 16 + 5 * 16 + 2 * BLOCK + 2 * 16 + HEAD,
    "head": HEAD,
    "bias": 16 + 2 * BLOCK_BIASES + 16 + HEAD,
    "last_blocks": BLOCK + 2 * 16 + HEAD,
    "lora": 2 * RANK_2 + HEAD,
}


def randomize(model):
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3).astype("float32") ** 2)  # variances are positive
    return model


@pytest.fixture
def model(tiny_config):
    return randomize(vit(tiny_config, num_classes=3))


@pytest.fixture
def batch(rng):
    return rng.integers(0, 256, (6, 16, 16, 3)).astype("uint8"), np.arange(6) % 3


def values(model):
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


def names(model):
    return [weight.path for weight in model.trainable_variables]


def fit(model, batch, *, steps=2, run_eagerly=False):
    optimizer = AdamW(1e-2, weight_decay=0.1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=JIT, run_eagerly=run_eagerly)
    model.fit(*batch, epochs=steps, verbose=0)
    return optimizer


@pytest.mark.parametrize("what", CHOICES)
def test_only_chosen_weights_change_and_have_optimizer_state(model, batch, what):
    if what == "lora":
        model = add_lora(model, rank=2)
    set_trainable(model, what, last_blocks=1)
    assert trainable_params(model) == TRAINED[what]
    before = values(model)
    # TensorFlow runs a few steps of a tiny model faster eagerly; one choice is compiled, too.
    optimizer = fit(model, batch, run_eagerly=keras.backend.backend() == "tensorflow" and what != "bias")
    after = values(model)
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    assert moved == set(names(model))
    assert len(optimizer.variables) == 2 + 2 * len(moved)  # step and rate; two moments per variable


def test_a_frozen_stem_keeps_its_moving_averages(tiny_config, batch):
    model = randomize(vit(tiny_config.replace(stem="conv"), num_classes=3))
    set_trainable(model, "bias")
    before = values(model)
    fit(model, batch, steps=1)
    after = values(model)
    stem = [path for path in before if path.startswith("conv_stem/")]
    assert "conv_stem/norm_0/moving_mean" in stem
    for path in stem:
        np.testing.assert_array_equal(after[path], before[path], err_msg=path)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_full_undoes_every_choice(tiny_config, stem):
    model = vit(tiny_config.replace(stem=stem, dropout_rate=0.1), num_classes=3)
    every = names(model)
    for what in ("head", "bias", "last_blocks", "head"):
        set_trainable(model, what, last_blocks=1)
        assert len(names(model)) < len(every)
        set_trainable(model, "head")
        assert names(model) == ["head/kernel", "head/bias"]
        set_trainable(model, "full")
        assert names(model) == every
        assert all(layer.trainable for layer in model._flatten_layers())


def test_last_blocks_are_counted_from_the_head(model):
    set_trainable(model, "last_blocks", last_blocks=1)
    assert {name.split("/")[0] for name in names(model)} == {"block_01", "final_norm", "head"}
    set_trainable(model, "last_blocks")
    assert {name.split("/")[0] for name in names(model)} == {"block_00", "block_01", "final_norm", "head"}


def test_biases_of_all_layers_are_found(tiny_config):
    config = tiny_config.replace(
        qkv_bias="query_value", qk_norm=True, pooling="map", class_token=False, layer_scale=0.1
    )
    model = vit(config, num_classes=3)
    set_trainable(model, "bias")
    chosen = [name.removeprefix("block_01/") for name in names(model) if name.startswith("block_01/")]
    assert "attention/query_bias" in chosen
    assert "attention/value_bias" in chosen
    assert "attention/query_norm/beta" in chosen
    kinds = {name.split("/")[-1] for name in names(model) if not name.startswith("head/")}
    assert kinds == {"bias", "beta", "query_bias", "value_bias"}


def test_pooling_trains_with_the_last_blocks_and_not_with_the_head(tiny_config):
    model = vit(tiny_config.replace(pooling="map", class_token=False), num_classes=3)
    set_trainable(model, "head")
    assert names(model) == ["head/kernel", "head/bias"]
    set_trainable(model, "last_blocks", last_blocks=1)
    assert "pooling/probe" in names(model)


def test_a_distilled_model_has_two_heads(tiny_config):
    model = vit(tiny_config.replace(distillation_token=True), num_classes=3)
    set_trainable(model, "head")
    assert {name.split("/")[0] for name in names(model)} == {"head", "head_distillation"}


def test_a_compiled_model_must_be_compiled_again(model, batch):
    model.compile("adam", "sparse_categorical_crossentropy")
    set_trainable(model, "head")
    with pytest.raises(ValueError, match="compile"):
        model.fit(*batch, verbose=0)


@pytest.mark.parametrize("what", ["head", "bias", "last_blocks"])
def test_the_choice_can_be_repeated_after_a_keras_file(tiny_config, tmp_path, what):
    model = vit(tiny_config.replace(pooling="map", class_token=False), num_classes=3)
    set_trainable(model, what, last_blocks=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    set_trainable(loaded, what, last_blocks=1)
    assert names(loaded) == names(model)


def test_a_preset_holds_frozen_weights_too(model, tmp_path):
    whole = save_preset(model, tmp_path / "whole") / "model.safetensors"
    set_trainable(model, "bias")
    assert (save_preset(model, tmp_path / "frozen") / "model.safetensors").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("count", [0, 3, True, 1.0, None])
def test_a_wrong_number_of_blocks_is_refused(model, count):
    with pytest.raises(InvalidArgumentError, match="last_blocks must be an integer from 1 to the model's 2"):
        set_trainable(model, "last_blocks", last_blocks=count)


def test_choices_without_weights_are_refused_and_change_nothing(tiny_config, model):
    bare = vit(tiny_config)
    with pytest.raises(InvalidArgumentError, match="no head"):
        set_trainable(bare, "head")
    with pytest.raises(InvalidArgumentError, match="add_lora"):
        set_trainable(model, "lora")
    assert trainable_params(bare) == tiny_config.num_params
    assert trainable_params(model) == TRAINED["full"]


def test_unknown_choices_and_models_are_refused(model):
    with pytest.raises(InvalidArgumentError, match="what='heads'"):
        set_trainable(model, "heads")
    with pytest.raises(InvalidArgumentError, match="not made by"):
        set_trainable(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "head")
