"""Keras' optimizers in the form that updates a model fastest on the backend at hand."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor


def fastest(kind: type[keras.optimizers.Optimizer]) -> Any:
    """Returns the class to build an optimizer upon.

    On torch Keras has optimizers that update all variables in one call, and hands them out in place of its own classes, but not to
    those that inherit from them. On TensorFlow Keras takes some twenty operations a variable, where AdamW has a kernel. On JAX the
    compiler makes one loop of them.

    Args:
        kind: One of Keras' optimizers.

    Example:
        >>> issubclass(fastest(keras.optimizers.AdamW), keras.optimizers.AdamW)
        True
    """
    if keras.backend.backend() == "torch":
        return type(kind())
    if keras.backend.backend() == "tensorflow" and kind is keras.optimizers.AdamW:
        return _KernelAdamW
    return kind


class _KernelAdamW(keras.optimizers.AdamW):
    """AdamW on TensorFlow, each variable updated by one kernel, with Keras' numbers; `amsgrad` and half precision go Keras' way."""

    def build(self, variables: Iterable[keras.Variable]) -> None:
        """Makes the optimizer's state."""
        variables = list(variables)
        super().build(variables)
        # In half precision the kernel would take the decay of the second moment, 0.999, for 1.
        self._has_kernel = not self.amsgrad and all(variable.dtype == "float32" for variable in variables)

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Tensor
    ) -> None:
        if self._has_kernel:  # the correction of both moments is the same for all variables
            step = ops.cast(self.iterations + 1, "float32")
            learning_rate *= ops.sqrt(1 - ops.power(self.beta_2, step)) / (1 - ops.power(self.beta_1, step))
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Updates one variable."""
        if not self._has_kernel:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        place = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=0.0,
            beta2_power=0.0,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(tf.cast(gradient, variable.dtype)),  # of an embedding it is a slice
        )
