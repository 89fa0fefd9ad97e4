import keras
import numpy as np
import pytest
from contracts import JIT
from training.weights import changed, randomize, values

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


@pytest.fixture
def model(tiny_config):
    return randomize(vit(tiny_config, num_classes=3))


@pytest.fixture
def batch(rng):
    return rng.integers(0, 256, (6, 16, 16, 3)).astype("uint8"), np.arange(6) % 3


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
    moved = changed(before, values(model))
    assert moved == set(names(model))
    assert len(optimizer.variables) == 2 + 2 * len(moved)  # step and rate; two moments per variable


def test_a_frozen_stem_keeps_its_moving_averages(tiny_config, batch):
    model = vit(tiny_config.replace(stem="conv", num_layers=1), num_classes=3)
    set_trainable(model, "bias")
    before = values(model)
    fit(model, batch, steps=1)
    assert "conv_stem/norm_0/moving_mean" in before
    assert not any(path.startswith("conv_stem/") for path in changed(before, values(model)))


@pytest.mark.any_backend
def test_full_undoes_every_choice(tiny_config):
    model = vit(tiny_config.replace(stem="conv", dropout_rate=0.1), num_classes=3)
    every = names(model)
    for what in ("head", "bias", "last_blocks", "head"):
        set_trainable(model, what, last_blocks=1)
        assert len(names(model)) < len(every)
        set_trainable(model, "head")
        assert names(model) == ["head/kernel", "head/bias"]
        set_trainable(model, "full")
        assert names(model) == every
        assert all(layer.trainable for layer in model._flatten_layers())


POOLED = {"pooling": "map", "class_token": False}


@pytest.mark.parametrize(
    ("changes", "what", "count", "expected"),
    [
        ({}, "last_blocks", 1, {"block_01", "final_norm", "head"}),
        ({}, "last_blocks", 2, {"block_00", "block_01", "final_norm", "head"}),
        (POOLED, "last_blocks", 1, {"block_01", "final_norm", "pooling", "head"}),
        (POOLED, "head", 1, {"head"}),
        ({"distillation_token": True}, "head", 1, {"head", "head_distillation"}),
    ],
)
@pytest.mark.any_backend
def test_blocks_are_counted_from_the_head_and_pooling_trains_with_them(tiny_config, changes, what, count, expected):
    model = vit(tiny_config.replace(**changes), num_classes=3)
    set_trainable(model, what, last_blocks=count)
    assert {name.split("/")[0] for name in names(model)} == expected


@pytest.mark.any_backend
def test_biases_of_all_layers_are_found(tiny_config):
    model = vit(tiny_config.replace(qkv_bias="query_value", qk_norm=True, layer_scale=0.1, **POOLED), num_classes=3)
    set_trainable(model, "bias")
    chosen = [name.removeprefix("block_01/") for name in names(model) if name.startswith("block_01/")]
    assert {"attention/query_bias", "attention/value_bias", "attention/query_norm/beta"} <= {*chosen}
    kinds = {name.split("/")[-1] for name in names(model) if not name.startswith("head/")}
    assert kinds == {"bias", "beta", "query_bias", "value_bias"}


@pytest.mark.any_backend
def test_files_hold_frozen_weights_and_a_compiled_model_must_be_compiled_again(model, batch, tmp_path):
    whole = save_preset(model, tmp_path / "whole") / "model.safetensors"
    model.compile("adam", "sparse_categorical_crossentropy")
    set_trainable(model, "bias")
    with pytest.raises(ValueError, match="compile"):
        model.fit(*batch, verbose=0)
    assert (save_preset(model, tmp_path / "frozen") / "model.safetensors").read_bytes() == whole.read_bytes()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    set_trainable(loaded, "bias")  # can be repeated
    assert names(loaded) == names(model)


@pytest.mark.any_backend
def test_wrong_choices_and_models_are_refused_and_change_nothing(tiny_config, model):
    counts = "last_blocks must be an integer from 1 to the model's 2"
    bare, dense = vit(tiny_config), keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for other, what, count, message in (
        (bare, "head", 1, "no head"),
        (model, "lora", 1, "add_lora"),
        (model, "heads", 1, "what='heads'"),
        (dense, "head", 1, "not made by"),
        *((model, "last_blocks", count, counts) for count in (0, 3, True, 1.0, None)),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            set_trainable(other, what, last_blocks=count)
    assert trainable_params(bare) == tiny_config.num_params
    assert trainable_params(model) == TRAINED["full"]
