"""The contract that every layer fulfills."""

import contextlib
import inspect
import json
import warnings
from unittest import mock

import keras
import numpy as np

from vit_keras.layers.base.composite_layer import CompositeLayer

POLICIES = {"float32": "float32", "mixed_float16": "float16", "bfloat16": "bfloat16"}
JIT = keras.backend.backend() == "jax"  # which otherwise compiles every operation of a tiny layer by itself


def check_layer(layer, input_shape, tmp_path):
    """Checks an unbuilt layer on inputs of this shape, batch included."""
    inputs = np.random.default_rng(0).normal(size=input_shape).astype("float32")
    _check_config(layer, inputs)
    _check_shapes(layer, inputs)
    for policy, dtype in POLICIES.items():
        _check_dtypes(policy, dtype, layer, inputs)
    _check_gradients(layer, inputs)
    _check_file(layer, inputs, tmp_path)
    check_stays_frozen(layer, inputs)
    if isinstance(layer, CompositeLayer):
        _check_frozen_inside(layer, inputs)
        _check_quantized_file(layer, inputs, tmp_path)


def copy_of(layer, **changes):
    return type(layer).from_config({**layer.get_config(), **changes})


def _as_json(config):
    return json.loads(json.dumps(config))


def _check_config(layer, inputs):
    config = _as_json(layer.get_config())
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    arguments = {each.name for each in parameters if each.kind is not each.VAR_KEYWORD} - {"self"}
    assert config.keys() == arguments | {"name", "trainable", "dtype"}
    assert _as_json(type(layer).from_config(config).get_config()) == config
    assert _built(copy_of(layer), inputs).get_config() == layer.get_config()


def _check_shapes(layer, inputs):
    any_batch = (None, *inputs.shape[1:])
    eager = tuple(copy_of(layer)(inputs).shape)
    assert copy_of(layer).compute_output_shape(inputs.shape) == eager
    assert copy_of(layer).compute_output_shape(any_batch) == (None, *eager[1:])
    assert copy_of(layer)(keras.Input(any_batch[1:])).shape == (None, *eager[1:])


def _check_dtypes(policy, dtype, layer, inputs):
    copy = copy_of(layer, dtype=policy)
    assert copy(keras.Input(inputs.shape[1:])).dtype == dtype
    parts = list(copy._flatten_layers())
    assert {part.dtype_policy.name for part in parts} == {policy}
    assert not any(isinstance(part, keras.layers.Lambda) for part in parts)
    assert {weight.dtype for weight in copy.weights} <= {"float32" if policy.startswith("mixed") else dtype}
    if not JIT:
        outputs = copy(inputs)
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype
        assert np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))).all()


def _check_gradients(layer, inputs):
    # The projection before the layer has a gradient only if one passes through: this checks layers without weights, too.
    # With this seed, stochastic depth does not drop a branch for the whole batch.
    keras.utils.set_random_seed(0)
    images = keras.Input(inputs.shape[1:])
    outputs = copy_of(layer)(keras.layers.Dense(inputs.shape[-1], name="in_front")(images))
    model = keras.Model(images, outputs)
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=JIT, run_eagerly=not JIT)
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights]
    targets = np.random.default_rng(1).normal(size=(len(inputs), *outputs.shape[1:])).astype("float32")
    assert np.isfinite(model.train_on_batch(inputs, targets))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = keras.ops.convert_to_numpy(weight)
        assert np.isfinite(new).all(), f"{weight.path} is not finite after a step"
        assert not np.array_equal(new, old), f"no gradient reaches {weight.path}"


def _check_file(layer, inputs, tmp_path):
    images = keras.Input(inputs.shape[1:])
    model = keras.Model(images, copy_of(layer)(images))
    model.save(tmp_path / "layer.keras")
    loaded = keras.saving.load_model(tmp_path / "layer.keras")
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(each(inputs)) for each in (loaded, model)))


def _built(layer, inputs):
    layer(keras.Input(inputs.shape[1:]))
    return layer


def check_stays_frozen(layer, inputs):
    """Checks that `trainable = False`, set before or after `build`, holds for a layer and for what its config creates."""
    frozen_before, frozen_after = copy_of(layer), _built(copy_of(layer), inputs)
    frozen_before.trainable = frozen_after.trainable = False
    _built(frozen_before, inputs)
    restored = [_built(copy_of(frozen), inputs) for frozen in (frozen_before, frozen_after)]
    for frozen in (frozen_before, frozen_after, *restored):
        assert not any(weight.trainable for weight in frozen.weights)  # a model asks its weights, not its layers
        frozen.trainable = True
        assert _trainable(frozen) == _trainable(_built(copy_of(layer), inputs))


def _trainable(layer):
    return [weight.path.removeprefix(layer.path) for weight in layer.trainable_weights]


def _check_frozen_inside(layer, inputs):
    changed = _built(copy_of(layer), inputs)
    frozen = changed.trainable_weights[-1]
    frozen.trainable = False
    next(part for part in changed._flatten_layers(include_self=False) if part.weights).trainable = False
    restored = _built(copy_of(changed), inputs)
    assert _trainable(restored) == _trainable(changed) != _trainable(_built(copy_of(layer), inputs))
    assert _as_json(copy_of(changed).get_config()) == _as_json(restored.get_config()) == _as_json(changed.get_config())


def _check_quantized_file(layer, inputs, tmp_path):
    images = keras.Input(inputs.shape[1:])
    model = keras.Model(images, copy_of(layer)(images))
    with quantizing():
        model.quantize("int8")
        model.save(tmp_path / "quantized.keras")
        loaded = keras.saving.load_model(tmp_path / "quantized.keras")
    config = _as_json(model.layers[-1].get_config())
    assert _as_json(type(layer).from_config(config).get_config()) == config == _as_json(loaded.layers[-1].get_config())
    for restored, weight in zip(loaded.weights, model.weights, strict=True):
        assert (restored.path, restored.dtype) == (weight.path, weight.dtype)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(restored), keras.ops.convert_to_numpy(weight))
    if not JIT:
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(each(inputs)) for each in (loaded, model)))


@contextlib.contextmanager
def quantizing():
    """Silences Keras' warnings about layers that can't be quantized, and leaves out its garbage collections."""
    with warnings.catch_warnings(action="ignore"), mock.patch("gc.collect"):
        yield
