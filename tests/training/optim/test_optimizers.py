import json
import math

import keras
import numpy as np
import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.losses.crossentropy import SmoothedCrossentropy
from vit_keras.training.optim.layer_decay import layer_scales
from vit_keras.training.optim.optimizers import SGD, AdamW, Lamb, Lion, Muon
from vit_keras.training.optim.schedules import WarmupLinear, schedule_of, warmup_cosine
from vit_keras.training.transfer.freezing import set_trainable

KINDS = [AdamW, Muon, Lion, Lamb, SGD]
JIT = "auto" if keras.backend.backend() == "jax" else False


@pytest.fixture(scope="module")
def model(tiny_config):
    """Three blocks, of which some can be frozen."""
    return vit(tiny_config.replace(num_layers=3), num_classes=3)


@pytest.fixture
def variables(model):
    """Its trainable variables, with numbers that are not zero."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) + 2)
    return model.trainable_variables


@pytest.fixture(scope="module", params=["token", "map", "conv"])
def every_kind_of_weight(request, tiny_config):
    """Models that have, between them, every weight there is."""
    changes = {"token": {"layer_scale": 0.5}, "map": {"pooling": "map"}, "conv": {"stem": "conv", "patch_size": 4}}
    model = vit(tiny_config.replace(**changes[request.param]), num_classes=3)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) + 2)
    return model


def numpy_of(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def twice(optimizer):
    """Returns an optimizer after going through JSON."""
    return keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(optimizer))))


def gradients_like(arrays, seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=array.shape).astype("float32") for array in arrays]


def apply(optimizer, gradients, variables):
    """Takes a step, compiled on JAX, which else compiles each step's branches anew."""
    gradients = [keras.ops.convert_to_tensor(gradient) for gradient in gradients]
    if keras.backend.backend() != "jax":
        optimizer.apply(gradients, variables)
        return
    import jax

    if not optimizer.built:
        optimizer.build(variables)
        optimizer.compiled_step = jax.jit(optimizer.stateless_apply)
    own = [variable.value for variable in optimizer.variables]
    found = optimizer.compiled_step(own, gradients, [variable.value for variable in variables])
    for variable, value in zip([*variables, *optimizer.variables], [*found[0], *found[1]], strict=True):
        variable.assign(value)


# --- what has no decay


@pytest.mark.parametrize("reloaded", [False, True], ids=["new", "reloaded"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_without_gradient_shrinks_the_kernels_and_nothing_else(every_kind_of_weight, kind, reloaded):
    optimizer = kind(0.1, weight_decay=0.5)
    optimizer = twice(optimizer) if reloaded else optimizer
    variables = every_kind_of_weight.trainable_variables
    before = numpy_of(variables)
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in variables], variables)
    for variable, old, new in zip(variables, before, numpy_of(variables), strict=True):
        expected = old * (1 - 0.1 * 0.5) if variable.name == "kernel" else old
        np.testing.assert_allclose(new, expected, rtol=1e-6, atol=0, err_msg=variable.path)


def test_where_nothing_has_decay_a_step_is_one_all_the_same(variables):
    biases = [variable for variable in variables if variable.name == "bias"]
    before = numpy_of(biases)
    apply(SGD(1.0, momentum=0.0, weight_decay=0.5), [np.ones(bias.shape, "float32") for bias in biases], biases)
    for old, new in zip(before, numpy_of(biases), strict=True):
        np.testing.assert_allclose(new, old - 1, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_is_the_same_after_json(kind):
    optimizer = kind(
        warmup_cosine(1e-3, steps=100, warmup_steps=10),
        weight_decay=0.3,
        layer_decay=0.7,
        num_layers=12,
        global_clipnorm=1.0,
        gradient_accumulation_steps=4,
    )
    again = twice(optimizer)
    assert type(again) is kind
    assert again.get_config() == optimizer.get_config()
    assert (again.layer_decay, again.num_layers, again.gradient_accumulation_steps) == (0.7, 12, 4)


def test_muon_orthogonalises_the_matrices_of_the_blocks_and_leaves_the_rest_to_adam(variables):
    optimizer = Muon(1.0, weight_decay=0.0)
    before = numpy_of(variables)
    apply(optimizer, gradients_like(before, 0), variables)
    for variable, old, new in zip(variables, before, numpy_of(variables), strict=True):
        update = old - new
        if variable.name == "kernel" and not variable.path.startswith("head/"):
            singular = np.linalg.svd(update / (0.2 * math.sqrt(max(update.shape))), compute_uv=False)
            assert 0.6 < np.median(singular) < 1.2, variable.path
            assert singular.max() < 1.3, variable.path
        else:
            np.testing.assert_allclose(np.abs(update), 1, rtol=1e-3, err_msg=variable.path)  # Adam's first step


# --- the form that is fast on this backend


def ends_of(optimizer, variables, start, *, steps=4):
    """Returns the variables after some steps from `start`."""
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    for step in range(steps):
        apply(optimizer, gradients_like(start, step), variables)
    return numpy_of(variables)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (AdamW, {}),
        (AdamW, {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
        (AdamW, {"amsgrad": True}),
        (Lion, {}),
        (Lamb, {}),
        (SGD, {"nesterov": True}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "-".join(value) or "plain",
)
def test_an_optimizer_has_keras_numbers(variables, kind, options):
    start, rates = numpy_of(variables), warmup_cosine(0.1, steps=4, warmup_steps=2)
    ours = kind(rates, weight_decay=0.3, **options)
    options = options if kind is not SGD else options | {"momentum": 0.9}
    theirs = getattr(keras.optimizers, kind.__name__)(rates, weight_decay=0.3, **options)
    theirs.exclude_from_weight_decay([variable for variable in variables if variable.name != "kernel"])
    found, expected = (ends_of(optimizer, variables, start) for optimizer in (ours, theirs))
    assert max(np.abs(new - old).max() for new, old in zip(expected, start, strict=True)) > 0.05
    for variable, mine, other in zip(variables, found, expected, strict=True):  # 1 - 0.999 in float32 is off by 1e-5
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=5e-6, err_msg=variable.path)


def test_weights_in_half_precision_move_as_with_keras_optimizer():
    start = [np.full((4, 4), 2.0, "float32")]
    ends = []
    for optimizer in (
        AdamW(0.1, beta_2=0.9, weight_decay=0.0),
        keras.optimizers.AdamW(0.1, beta_2=0.9, weight_decay=0.0),
    ):
        variables = [keras.Variable(start[0], dtype="bfloat16", name="kernel")]
        for step in range(3):
            gradient = keras.ops.cast(gradients_like(start, step)[0], "bfloat16")
            optimizer.apply([gradient], variables)
        ends.append(keras.ops.convert_to_numpy(variables[0]).astype("float32"))
    assert np.abs(ends[1] - 2).max() > 0.1
    np.testing.assert_array_equal(ends[0], ends[1])


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras has other classes on torch alone")
@pytest.mark.parametrize("kind", [AdamW, Lion, SGD])
def test_on_torch_all_variables_are_updated_in_one_call(kind):
    assert type(getattr(keras.optimizers, kind.__name__)()) in kind.__mro__


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the kernel is TensorFlow's")
class TestTheKernel:
    def operations(self, optimizer, variables):
        """Returns the types of the operations of a step."""
        import tensorflow as tf

        optimizer.build(variables)
        gradients = [tf.ones(variable.shape) for variable in variables]
        step = tf.function(lambda: optimizer.apply(gradients, variables))
        return [operation.type for operation in step.get_concrete_function().graph.get_operations()]

    def test_a_step_is_one_operation_a_variable_and_computes_the_schedule_once_for_decay_and_once_for_updates(
        self, variables
    ):
        rates = warmup_cosine(0.1, steps=4, warmup_steps=2)
        found = self.operations(AdamW(rates, weight_decay=0.3), variables)
        assert found.count("ResourceApplyAdam") == len(variables)
        assert found.count("StatelessIf") + found.count("If") == 2
        theirs = self.operations(keras.optimizers.AdamW(rates, weight_decay=0.3), variables)
        assert len(found) < 0.5 * len(theirs)

    def test_the_gradient_of_an_embedding_is_taken(self):
        import tensorflow as tf

        table = keras.Variable(np.ones((3, 2)), dtype="float32", name="table")
        optimizer = AdamW(0.5, weight_decay=0.0)
        optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), tf.constant([3, 2]))], [table])
        np.testing.assert_allclose(table.numpy(), [[1, 1], [0.5, 0.5], [1, 1]], rtol=1e-5)

    def test_a_step_compiles_with_xla(self, variables):
        import tensorflow as tf

        start = numpy_of(variables)
        gradients = [tf.constant(array) for array in gradients_like(start, 0)]
        ends = []
        for xla in (True, False):
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
            optimizer = AdamW(0.1, weight_decay=0.3, layer_decay=0.7)
            optimizer.build(variables)
            tf.function(lambda optimizer=optimizer: optimizer.apply(gradients, variables), jit_compile=xla)()
            ends.append(numpy_of(variables))
        for variable, compiled, plain in zip(variables, *ends, strict=True):
            np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6, err_msg=variable.path)


# --- batches an optimizer step


@pytest.mark.parametrize("kind", KINDS)
def test_accumulated_batches_are_one_large_batch(variables, kind):
    variables = [variable for variable in variables if not variable.path.startswith(("block_00", "block_01"))]
    start, options = numpy_of(variables), {"weight_decay": 0.3, "layer_decay": 0.5, "global_clipnorm": 1.0}
    rates = warmup_cosine(0.1, steps=4, warmup_steps=2)
    ends = []
    for batches in (3, 1):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        optimizer = kind(rates, **options, gradient_accumulation_steps=batches if batches > 1 else None)
        for step in range(3):
            parts = [gradients_like(start, 10 * step + part) for part in range(3)]
            mean = [np.mean(gradients, axis=0) for gradients in zip(*parts, strict=True)]
            for gradients in parts if batches > 1 else [mean]:
                apply(optimizer, gradients, variables)
        assert int(optimizer.iterations) == 3
        ends.append(numpy_of(variables))
    moved = max(np.abs(new - old).max() for new, old in zip(ends[0], start, strict=True))
    assert moved > 0.01
    for variable, accumulated, large in zip(variables, *ends, strict=True):
        np.testing.assert_allclose(accumulated, large, rtol=1e-4, atol=1e-5, err_msg=variable.path)


def test_between_optimizer_steps_nothing_moves(variables):
    optimizer, start = AdamW(0.1, weight_decay=0.5, gradient_accumulation_steps=3), numpy_of(variables)
    for part in range(2):
        apply(optimizer, gradients_like(start, part), variables)
    for old, new in zip(start, numpy_of(variables), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_the_rate_of_an_optimizer_step_is_the_schedules(variables, shape):
    variables = variables[:1]
    rates = schedule_of(shape, 0.5, steps=5, warmup_steps=2)
    optimizer = SGD(rates, momentum=0.0, gradient_accumulation_steps=2)
    ones = [np.ones(variable.shape, "float32") for variable in variables]
    for step in range(5):
        before = numpy_of(variables)[0]
        for _ in range(2):
            assert float(optimizer.learning_rate) == float(rates(step))
            apply(optimizer, ones, variables)
        np.testing.assert_allclose(before - numpy_of(variables)[0], float(rates(step)), atol=1e-5)


def test_keras_own_schedules_still_count_batches():
    """The reason for ours: the day this fails, `_get_current_learning_rate` may go."""
    rates = warmup_cosine(0.5, steps=8, warmup_steps=4)
    optimizer = keras.optimizers.SGD(rates, gradient_accumulation_steps=4)
    optimizer.build([keras.Variable([1.0])])
    for _ in range(4):
        optimizer.apply([keras.ops.ones((1,))])
    assert int(optimizer.iterations) == 1
    assert float(optimizer.learning_rate) == float(rates(4))


# --- schedules


def test_without_a_warm_up_the_learning_rate_starts_at_the_highest():
    for shape, halfway in (("cosine", 0.25), ("linear", 0.25)):
        schedule = schedule_of(shape, 0.5, steps=100, warmup_steps=0)
        assert [float(schedule(step)) for step in (0, 50, 100)] == pytest.approx([0.5, halfway, 0.0], abs=1e-6)
    assert schedule_of("constant", 1, steps=100, warmup_steps=0) == 1.0


def test_a_schedule_ends_at_zero_and_stays_there():
    schedule = WarmupLinear(0.5, warmup_steps=10, decay_steps=90)
    assert [float(schedule(step)) for step in (0, 5, 10, 55, 100, 200)] == [0.0, 0.25, 0.5, 0.25, 0.0, 0.0]


def test_an_unknown_shape_is_refused():
    with pytest.raises(InvalidArgumentError, match="step"):
        schedule_of("step", 1.0, steps=2, warmup_steps=1)


# --- layer-wise rates where something is frozen


def rates_of(model, **options):
    """Returns by how much a step of plain gradient descent moves each variable."""
    variables = model.trainable_variables
    before = numpy_of(variables)
    apply(SGD(1.0, momentum=0.0, **options), [np.ones(array.shape, "float32") for array in before], variables)
    moved = [(old - new).mean() for old, new in zip(before, numpy_of(variables), strict=True)]
    return {variable.path: rate for variable, rate in zip(variables, moved, strict=True)}


@pytest.mark.parametrize("what", ["head", "bias", "last_blocks"])
def test_frozen_weights_leave_the_rates_of_the_others(model, variables, what):
    paths = [variable.path for variable in variables]
    expected = dict(zip(paths, layer_scales(paths, 0.5), strict=True))
    set_trainable(model, what)
    try:
        found = rates_of(model, layer_decay=0.5)
    finally:
        set_trainable(model, "full")
    assert 0 < len(found) < len(expected)
    for path, rate in found.items():
        np.testing.assert_allclose(rate, expected[path], rtol=1e-4, err_msg=path)


def test_where_the_last_blocks_are_frozen_the_depth_can_be_said():
    assert layer_scales(["block_00/mlp/expand/kernel", "head/bias"], 0.5, num_layers=3) == [0.5**3, 1.0]
    assert layer_scales(["patch_encoder/class_token", "head/bias"], 0.5, num_layers=3) == [0.5**4, 1.0]
    assert layer_scales(["final_norm/gamma", "head/bias"], 0.5) == [0.5, 1.0]
    assert layer_scales(["head/bias", "head_distillation/bias", "pooling/probe"], 0.5) == [1.0, 1.0, 1.0]


def test_a_depth_that_can_not_be_known_or_is_wrong_is_refused():
    with pytest.raises(InvalidArgumentError, match="num_layers=12"):
        layer_scales(["patch_encoder/class_token", "head/bias"], 0.5)
    with pytest.raises(InvalidArgumentError, match="num_layers=2 is too few: there is a block_02"):
        layer_scales(["block_02/mlp/expand/kernel"], 0.5, num_layers=2)
    with pytest.raises(InvalidArgumentError, match="num_layers=0"):
        AdamW(layer_decay=0.5, num_layers=0)


# --- float16


def test_in_float16_the_loss_is_scaled_and_the_steps_are_the_optimizers():
    rates = warmup_cosine(0.5, steps=4, warmup_steps=2)
    with dtype_policy("mixed_float16"):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, kernel_initializer="zeros", name="head")])
        optimizer = AdamW(rates, weight_decay=0.1, layer_decay=0.75, gradient_accumulation_steps=2, global_clipnorm=1.0)
        model.compile(optimizer, SmoothedCrossentropy(), jit_compile=JIT)
    assert type(model.optimizer) is keras.optimizers.LossScaleOptimizer
    for _ in range(4):
        assert np.isfinite(np.asarray(model.train_on_batch(np.ones((6, 2)), np.arange(6) // 3)))
    assert int(model.optimizer.iterations) == 2
    assert float(model.optimizer.learning_rate) == float(rates(2))
    # Of Adam's two steps the first is at rate 0 and the second at half of the highest; no class 2 is there.
    kernel = keras.ops.convert_to_numpy(model.get_layer("head").kernel)
    np.testing.assert_allclose(kernel, [[0.25, 0.25, -0.25]] * 2, rtol=1e-2)
