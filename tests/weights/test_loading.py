"""A load fills the model or changes nothing.

Tests named `a..` are rows of the table of bad inputs that every reader of weights must refuse.
"""

import io
import tracemalloc

import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file
from weights.checkpoints import assert_same_bits, random_weights

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, VitKerasError, WeightMismatchError
from vit_keras.models.vit import vit
from vit_keras.weights import load
from vit_keras.weights.mappings.libraries.google import GOOGLE
from vit_keras.weights.mappings.libraries.timm import TIMM
from vit_keras.weights.writing import translate
from vit_keras.zoo.rebuild import rebuild

SMALL = ViTConfig(image_size=32, patch_size=8, hidden_dim=24, num_layers=2, num_heads=2, mlp_dim=48)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


@pytest.fixture(scope="module")
def model():
    built, weights = vit(SMALL, num_classes=7), random_weights(SMALL, seed=5)
    for weight in built.weights:
        weight.assign(weights[weight.path])
    return built


def weights_of(model) -> dict[str, np.ndarray]:
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


@pytest.mark.parametrize(("keep", "policy"), [(True, "float32"), (False, "mixed_bfloat16")])
def test_a_model_is_filled_exactly(path, keep, policy):
    weights = random_weights(SMALL)
    save_file(translate(weights, SMALL, TIMM), path)
    model = rebuild(vit(SMALL, num_classes=7), dtype_policy=policy)
    assert load(model, path, keep_on_failure=keep).table is TIMM
    assert_same_bits(weights_of(model), weights)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, "float16", "float64"])
def test_a13_other_float_dtypes_are_converted(path, dtype):
    theirs = {name: array.astype(dtype) for name, array in translate(random_weights(SMALL), SMALL, TIMM).items()}
    save_file(theirs, path)
    model = vit(SMALL, num_classes=7)
    steps = load(model, path)
    assert ("tensors of float64 are rounded" in steps.notes) == (dtype == "float64")
    np.testing.assert_array_equal(weights_of(model)["head/kernel"], theirs["head.weight"].T.astype("float32"))


@pytest.mark.parametrize(
    ("number", "name", "dtype"),
    [
        (np.nan, "head.bias", "float32"),
        (-np.inf, "blocks.1.attn.qkv.weight", "float32"),
        (1e300, "head.bias", "float64"),
    ],
)
def test_a15_nan_infinity_and_what_overflows_float32_change_nothing(path, model, number, name, dtype):
    theirs = {key: array.astype(dtype) for key, array in translate(random_weights(SMALL), SMALL, TIMM).items()}
    theirs[name].reshape(-1)[3] = number
    save_file(theirs, path)
    before = weights_of(model)
    with pytest.raises(CorruptFileError, match=f"{name} holds NaN or infinity in .*, numbers: 1;"):
        load(model, path)
    assert_same_bits(weights_of(model), before)


@pytest.mark.parametrize("keep", [True, False])
def test_a15_nan_and_infinity_can_be_allowed_and_are_not_looked_for_in_what_is_left_out(path, keep):
    weights, left_out = random_weights(SMALL), {"mask_token": np.full((1, 24), np.nan, "float32")}
    save_file(translate(weights, SMALL, TIMM) | left_out, path)
    model = vit(SMALL, num_classes=7)
    load(model, path, keep_on_failure=keep)
    weights["head/bias"][:2] = np.nan, np.inf
    save_file(translate(weights, SMALL, TIMM), path)
    load(model, path, allow_nonfinite=True, keep_on_failure=keep)
    assert_same_bits(weights_of(model), weights)


def test_a16_a_file_that_does_not_fit_changes_nothing(path, model):
    theirs = translate(random_weights(SMALL), SMALL, TIMM)
    del theirs["norm.bias"]
    save_file(theirs, path)
    before = weights_of(model)
    with pytest.raises(WeightMismatchError, match=r"final_norm/beta"):
        load(model, path)
    assert_same_bits(weights_of(model), before)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_interrupted_load_restores_all_weights(path, model, monkeypatch, error):
    save_file(translate(random_weights(SMALL), SMALL, TIMM), path)
    before, count = weights_of(model), 0
    assign = keras.Variable.assign

    def interrupted(variable, value):
        nonlocal count
        count += 1
        if count == 9:
            raise error
        return assign(variable, value)

    monkeypatch.setattr(keras.Variable, "assign", interrupted)
    with pytest.raises(error):
        load(model, path)
    monkeypatch.undo()
    assert_same_bits(weights_of(model), before)


def npz(tensors) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **tensors)
    return buffer.getvalue()


GOOD = {
    "x.safetensors": save(translate(random_weights(SMALL), SMALL, TIMM)),
    "x.npz": npz(translate(random_weights(SMALL), SMALL, GOOGLE)),
}
BYTES = sum(array.nbytes for array in random_weights(SMALL).values())
OVERHEAD = 2**20  # names, JSON, Python objects


@pytest.mark.any_backend
@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.one_of(st.floats(0, 1), st.floats(0, 0.1), st.floats(0.9, 1)),
    new=st.binary(min_size=1, max_size=4),
    torn=st.booleans(),
)
def test_a_damaged_file_fills_the_model_or_changes_nothing(tmp_path, model, name, place, new, torn):
    good, path = GOOD[name], tmp_path / name
    start = int(place * (len(good) - 1))
    path.write_bytes(good[:start] + new + (b"" if torn else good[start + len(new) :]))
    before = weights_of(model)
    tracemalloc.start()
    try:
        load(model, path)
    except VitKerasError:
        assert_same_bits(weights_of(model), before)
    else:
        assert all(np.isfinite(array).all() for array in weights_of(model).values())
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2 * BYTES + OVERHEAD
