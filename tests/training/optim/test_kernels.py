import keras
import numpy as np
import pytest

from vit_keras.training.optim.optimizers import SGD, AdamW, Lion
from vit_keras.training.optim.schedules import warmup_cosine

GRADIENTS = np.random.default_rng(0).normal(size=(3, 4, 4)).astype("float32")


def test_half_precision_weights_move_as_with_keras():
    ends = []
    for kind in (AdamW, keras.optimizers.AdamW):
        optimizer = kind(0.1, beta_2=0.9, weight_decay=0.0)
        variables = [keras.Variable(np.full((4, 4), 2.0), dtype="bfloat16", name="kernel")]
        for gradient in GRADIENTS:
            optimizer.apply([keras.ops.cast(gradient, "bfloat16")], variables)
        ends.append(keras.ops.convert_to_numpy(variables[0]).astype("float32"))
    assert np.abs(ends[1] - 2).max() > 0.1
    np.testing.assert_array_equal(ends[0], ends[1])


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras has other classes on torch only")
def test_on_torch_all_variables_are_updated_in_one_call():
    for kind in (AdamW, Lion, SGD):
        assert type(getattr(keras.optimizers, kind.__name__)()) in kind.__mro__


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the fused kernel is TensorFlow's")
class TestFusedAdamW:
    @pytest.fixture
    def variables(self):
        return [
            keras.Variable(array, name=name) for array, name in zip(GRADIENTS, ("kernel", "bias", "gamma"), strict=True)
        ]

    def list_operations(self, optimizer, variables):
        """Returns the types of the operations in a step."""
        import tensorflow as tf

        optimizer.build(variables)
        gradients = [tf.ones(variable.shape) for variable in variables]
        step = tf.function(lambda: optimizer.apply(gradients, variables))
        return [operation.type for operation in step.get_concrete_function().graph.get_operations()]

    def test_a_step_has_one_operation_per_variable_and_computes_the_schedule_twice(self, variables):
        rates = warmup_cosine(0.1, steps=4, warmup_steps=2)
        found = self.list_operations(AdamW(rates, weight_decay=0.3), variables)
        assert found.count("ResourceApplyAdam") == len(variables)
        assert found.count("StatelessIf") + found.count("If") == 2  # for weight decay and for the updates

    def test_the_gradient_of_an_embedding_works(self):
        import tensorflow as tf

        table = keras.Variable(np.ones((3, 2)), dtype="float32", name="table")
        optimizer = AdamW(0.5, weight_decay=0.0)
        optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), tf.constant([3, 2]))], [table])
        np.testing.assert_allclose(table.numpy(), [[1, 1], [0.5, 0.5], [1, 1]], rtol=1e-5)

    def test_a_step_compiles_with_xla(self, variables):
        import tensorflow as tf

        ends = []
        for xla in (True, False):
            for variable, value in zip(variables, GRADIENTS, strict=True):
                variable.assign(value)
            optimizer = AdamW(0.1, weight_decay=0.3)
            optimizer.build(variables)
            gradients = [tf.constant(array) for array in GRADIENTS]
            tf.function(
                lambda optimizer=optimizer, gradients=gradients: optimizer.apply(gradients, variables), jit_compile=xla
            )()
            ends.append([variable.numpy() for variable in variables])
        np.testing.assert_allclose(*ends, rtol=1e-5, atol=1e-6)
