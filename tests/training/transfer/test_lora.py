import json
import math

import keras
import numpy as np
import pytest
from backends import some_elsewhere
from contracts import JIT
from safetensors.numpy import load_file, save_file
from training.weights import changed, randomize, values

from vit_keras import from_preset, model_config, save_preset, vit
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.layers.adapted_block import TARGETS, AdaptedBlock, LowRank
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.optim.layer_decay import layer_scales
from vit_keras.training.optim.optimizers import AdamW
from vit_keras.training.transfer.freezing import set_trainable, trainable_params
from vit_keras.training.transfer.lora import add_lora, load_lora, merge_lora, read_lora_config, save_lora

PLACES = ["attention/qkv", "attention/output", "mlp/expand", "mlp/contract"]
OWN = [
    f"{block}/{place}/adapter_{way}" for block in ("block_00", "block_01") for place in PLACES for way in ("down", "up")
]
OWN += ["head/kernel", "head/bias"]
EAGERLY = keras.backend.backend() == "tensorflow"  # faster than tracing for a few steps
OWN_OF_ONE = {path for path in OWN if not path.startswith("block_01/")}


def eager(model, images):
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(model(images), "float32")))


def compiled(model, *, run_eagerly=False, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = AdamW(1e-2, weight_decay=0.1, **arguments)
    model.compile(optimizer, loss, jit_compile=JIT, run_eagerly=run_eagerly)
    return model


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(3).integers(0, 256, (6, 16, 16, 3)).astype("uint8"), np.arange(6) % 3


@pytest.fixture(scope="module")
def base(tiny_config):
    return randomize(vit(tiny_config, num_classes=3))


@pytest.fixture(scope="module")
def started(base):
    """The initial weights of a LoRA model, and the model."""
    keras.utils.set_random_seed(0)
    model = add_lora(base, rank=2, alpha=6)
    return values(model), model


@pytest.fixture(scope="module")
def trained(started, batch):
    _, model = started
    compiled(model, layer_decay=0.75).fit(*batch, epochs=3, verbose=0)
    return model


@pytest.fixture
def file(trained, tmp_path):
    return save_lora(trained, tmp_path / "lora.safetensors")


def test_the_outputs_do_not_change_before_training_and_targets_choose_the_projections(base, batch):
    adapted = add_lora(base)
    assert adapted is not base
    np.testing.assert_array_equal(eager(adapted, batch[0]), eager(base, batch[0]))
    for predict in (base.predict, adapted.predict):  # whose compilers may fuse other operations
        np.testing.assert_allclose(predict(batch[0], verbose=0), eager(base, batch[0]), rtol=1e-4, atol=1e-5)
    adapted = add_lora(base, rank=3, targets=["contract", "qkv"])
    assert read_lora_config(adapted) == {"rank": 3, "alpha": 3, "targets": ["contract", "qkv"]}
    assert read_lora_config(base) is None
    chosen = {weight.path.split("/")[2] for weight in adapted.trainable_variables if "adapter" in weight.path}
    assert chosen == {"contract", "qkv"}


@pytest.mark.parametrize(
    "changes",
    some_elsewhere(
        (
            {"parallel_block": True, "layer_scale": 0.1},
            {"pooling": "map", "class_token": False, "qkv_bias": "query_value"},
            {"distillation_token": True},
            {"gated_mlp": True, "activation": "silu", "mlp_inner_norm": True, "attention_inner_norm": True},
            {"qkv_bias": "none", "qk_norm": True},
            {"remat": "block"},
        ),
        every=3,
    ),
    ids=lambda changes: next(iter(changes)),
)
def test_every_kind_of_block_takes_lora(tiny_config, batch, changes):
    model = randomize(vit(tiny_config.replace(**changes), num_classes=3))
    adapted = add_lora(model, rank=2)
    np.testing.assert_array_equal(eager(adapted, batch[0]), eager(model, batch[0]))
    assert model_config(adapted) == model_config(model)
    randomize(adapted, seed=2)
    merged = merge_lora(adapted)
    assert [weight.path for weight in merged.weights] == [weight.path for weight in model.weights]
    np.testing.assert_allclose(eager(merged, batch[0]), eager(adapted, batch[0]), rtol=1e-4, atol=1e-5)


def test_lora_trains_under_recomputation(tiny_config, batch):
    config = tiny_config.replace(num_layers=1)
    bases = [randomize(vit(config.replace(remat=remat), num_classes=3)) for remat in ("block", "none")]
    recomputed, plain = (add_lora(model, rank=2) for model in bases)
    for weight, other in zip(recomputed.weights, plain.weights, strict=True):
        other.assign(keras.ops.convert_to_numpy(weight).copy())
    fits = [compiled(model, run_eagerly=EAGERLY).fit(*batch, epochs=3, verbose=0) for model in (recomputed, plain)]
    losses = [each.history["loss"] for each in fits]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_the_layer_computes_the_equation_of_the_paper(rng):
    rows, kernel, bias = rng.normal(size=(5, 8)), rng.normal(size=(8, 12)), rng.normal(size=12)
    down, up = rng.normal(size=(8, 3)), rng.normal(size=(3, 12))
    layer = LowRank(keras.layers.Dense(12), rank=3, alpha=12)
    layer.build((None, 8))
    for weight, value in ((layer.layer.kernel, kernel), (layer.layer.bias, bias), (layer.adapter_down, down)):
        weight.assign(value)
    found = eager(layer, rows.astype("float32"))
    np.testing.assert_allclose(found, rows @ kernel + bias, rtol=1e-4, atol=1e-5)  # up is zero
    layer.adapter_up.assign(up)
    found = eager(layer, rows.astype("float32"))
    np.testing.assert_allclose(found, rows @ kernel + bias + 12 / 3 * rows @ down @ up, rtol=1e-4, atol=1e-4)
    again = LowRank.from_config(json.loads(json.dumps(layer.get_config())))
    assert (again.rank, again.alpha, again.layer.units) == (3, 12, 12)
    wide = LowRank(keras.layers.Dense(4), rank=16, alpha=16)  # initialized as in the paper's code
    wide.build((None, 400))
    down = keras.ops.convert_to_numpy(wide.adapter_down)
    assert 0.9 / math.sqrt(400) < np.abs(down).max() <= 1 / math.sqrt(400)
    np.testing.assert_allclose(down.std(), 1 / math.sqrt(3 * 400), rtol=0.05)
    assert not keras.ops.convert_to_numpy(wide.adapter_up).any()


def test_only_lora_and_head_train_and_the_loss_falls(started, trained, base, batch):
    before, _ = started
    assert changed(before, values(trained)) == {weight.path for weight in trained.trainable_variables} == set(OWN)
    assert trainable_params(trained) == 2 * 2 * ((16 + 48) + (16 + 16) + (16 + 32) + (32 + 16)) + 16 * 3 + 3
    assert len(trained.optimizer.variables) == 2 + 2 * len(OWN)  # step and rate; two moments per variable
    assert not changed(values(base), before)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(batch[1], eager(trained, batch[0]))) < float(loss(batch[1], eager(base, batch[0])))
    assert trained.optimizer.layer_decay == 0.75
    scales = {"block_00": 0.75**2, "block_01": 0.75, "head": 1}
    assert layer_scales(OWN, 0.75) == [scales[path.split("/")[0]] for path in OWN]
    block = trained.get_layer("block_01")
    assert isinstance(block, AdaptedBlock)
    for part in (block, block.attention, block.mlp):
        with pytest.raises(ValueError, match="cannot add new elements"):
            part.more = keras.layers.Dense(1)


def test_a_merged_model_is_a_plain_preset(trained, base, batch, tmp_path):
    merged = merge_lora(trained)
    assert {type(layer) for layer in merged.layers if layer.name.startswith("block_")} == {type(base.layers[4])}
    assert len(merged.trainable_variables) == len(base.trainable_variables)
    assert model_config(merged) == model_config(base)
    expected = eager(trained, batch[0])
    assert not np.allclose(expected, eager(base, batch[0]), atol=1e-2)
    np.testing.assert_allclose(eager(merged, batch[0]), expected, atol=1e-5)
    loaded = from_preset(save_preset(merged, tmp_path / "merged"))
    np.testing.assert_allclose(eager(loaded, batch[0]), expected, atol=1e-5)


def test_a_file_holds_only_lora_and_head_and_restores_the_model(trained, base, batch, file):
    assert load_file(file).keys() == set(OWN)
    assert save_lora(trained, str(file)) == file  # replaces it
    assert [item.name for item in file.parent.iterdir()] == [file.name]
    loaded = load_lora(base, file)
    np.testing.assert_array_equal(eager(loaded, batch[0]), eager(trained, batch[0]))
    assert read_lora_config(loaded) == {"rank": 2, "alpha": 6, "targets": list(TARGETS)}
    assert {weight.path for weight in loaded.trainable_variables} == set(OWN)
    again = load_lora(loaded, file)  # its own LoRA matrices are dropped
    np.testing.assert_array_equal(eager(again, batch[0]), eager(trained, batch[0]))


def test_a_file_loads_into_half_precision(base, tiny_config, file, batch):
    with dtype_policy("bfloat16"):
        half = vit(tiny_config, num_classes=3)
        for weight, full in zip(half.weights, base.weights, strict=True):
            weight.assign(keras.ops.cast(full, weight.dtype))
        loaded = load_lora(half, file)
        assert {weight.dtype for weight in loaded.trainable_variables} == {"float32"}
        assert {weight.dtype for weight in loaded.weights} == {"float32", "bfloat16"}
        assert {weight.dtype for weight in merge_lora(loaded).weights if "block" in weight.path} == {"bfloat16"}


def test_lora_trains_in_mixed_precision(tiny_config, batch):
    with dtype_policy("mixed_float16"):
        adapted = add_lora(randomize(vit(tiny_config.replace(num_layers=1), num_classes=3)), rank=2)
    assert adapted.get_layer("block_00").attention.qkv.compute_dtype == "float16"
    before = values(adapted)
    history = compiled(adapted, run_eagerly=EAGERLY).fit(*batch, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    after = values(adapted)
    assert changed(before, after) == OWN_OF_ONE
    assert {value.dtype for value in after.values()} == {np.dtype("float32")}
    merged = merge_lora(adapted)
    assert merged.get_layer("block_00").mlp.expand.compute_dtype == "float16"
    np.testing.assert_allclose(eager(merged, batch[0]), eager(adapted, batch[0]), atol=0.05)


def test_a_keras_file_keeps_lora(trained, batch, tmp_path):
    trained.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(eager(loaded, batch[0]), eager(trained, batch[0]))
    assert read_lora_config(loaded) == read_lora_config(trained)
    set_trainable(loaded, "lora")
    assert {weight.path for weight in loaded.trainable_variables} == set(OWN)
    assert all(keras.ops.convert_to_numpy(weight).any() for weight in loaded.trainable_variables)


@pytest.mark.any_backend
def test_a_file_for_another_model_is_refused(tiny_config, base, file):
    before = values(base)
    other = vit(tiny_config.replace(image_size=24, pooling="mean"), num_classes=3)
    fields = r"image_size is \[16, 16\] in the file and \[24, 24\] here; pooling is 'token' in the file"
    same = randomize(vit(tiny_config, num_classes=3), seed=7)
    for model, message in ((other, fields), (same, "the config is the same, but the other weights differ")):
        with pytest.raises(WeightMismatchError, match=message):
            load_lora(model, file)
    for classes, reason in ((None, "2 not in the model: .*head/bias"), (5, "2 of another shape: .*head/kernel")):
        rest = vit(tiny_config, num_classes=classes)
        for weight in rest.weights:
            if not weight.path.startswith("head/"):
                weight.assign(before[weight.path])
        with pytest.raises(WeightMismatchError, match=reason):
            load_lora(rest, file)
    regular = vit(tiny_config.replace(dropout_rate=0.1, stochastic_depth_rate=0.2), num_classes=3)
    regular.set_weights(base.get_weights())
    load_lora(regular, file)  # such fields may differ


def rewrite(file, *, tensors=None, **changes):
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        described = {**json.loads(opened.metadata()["vit_keras_adapters"]), **changes}
    save_file({**load_file(file), **(tensors or {})}, file, {"vit_keras_adapters": json.dumps(described)})


NAN = {"head/bias": np.full(3, np.nan, "float32")}
UNKNOWN = {"block_09/mlp/expand/adapter_up": np.zeros(1, "float32")}


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format": 3}, WeightMismatchError, "format 3"),
        ({"format": 2}, CorruptFileError, "expected exactly"),
        ({"rank": 0}, CorruptFileError, "rank=0"),
        ({"alpha": "much"}, CorruptFileError, "alpha='much'"),
        ({"targets": ["head"]}, CorruptFileError, "head"),
        ({"more": 1}, CorruptFileError, "expected exactly"),
        ({"config": []}, CorruptFileError, "expected exactly"),
        ({"rank": 3}, WeightMismatchError, "16 of another shape"),
        ({"targets": ["qkv"]}, WeightMismatchError, "12 not in the model"),
        ({"tensors": NAN}, CorruptFileError, "not finite"),
        ({"tensors": UNKNOWN}, WeightMismatchError, "1 not in the model"),
    ],
    ids=str,
)
def test_a_changed_file_is_refused(base, file, changes, error, message):
    rewrite(file, **changes)
    with pytest.raises(error, match=message):
        load_lora(base, file)


@pytest.mark.any_backend
def test_other_and_damaged_files_are_refused(base, tiny_preset, file, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-1])
    for path, error, message in (
        (tmp_path / "missing.safetensors", StorageError, "missing"),
        (tiny_preset / "model.safetensors", WeightMismatchError, "not a LoRA file"),
        (cut, CorruptFileError, "cut"),
    ):
        with pytest.raises(error, match=message):
            load_lora(base, path)


@pytest.mark.any_backend
def test_a_file_that_would_miss_trained_weights_is_not_written(base, tmp_path):
    adapted = add_lora(base)
    adapted.get_layer("final_norm").trainable = True
    with pytest.raises(InvalidArgumentError, match="final_norm/gamma"):
        save_lora(adapted, tmp_path / "lora.safetensors")
    with pytest.raises(StorageError):
        save_lora(add_lora(base), tmp_path / "no" / "folder" / "lora.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.any_backend
def test_wrong_arguments_and_models_are_refused(base, trained, tmp_path):
    for name, wrong in (
        ("rank", (0, 2.0, True, 17)),
        ("alpha", (0, math.nan, math.inf, "much")),
        ("targets", ([], "qkv", ["head"], ["qkv", "qkv"])),
    ):
        for value in wrong:
            with pytest.raises(InvalidArgumentError, match=name):
                add_lora(base, **{name: value})
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for use, message in (
        (lambda: add_lora(dense), "not made by"),
        (lambda: add_lora(trained), "already has LoRA matrices"),
        (lambda: merge_lora(base), "has no LoRA matrices"),
        (lambda: save_lora(base, tmp_path / "lora.safetensors"), "has no LoRA matrices"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            use()
