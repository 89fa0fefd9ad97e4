"""The fastest implementation of a Keras optimizer on the current backend."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor


def select_fastest(optimizer: type[keras.optimizers.Optimizer]) -> Any:
    """Returns the class to derive an optimizer from.

    On torch, Keras' constructors return subclasses that update all variables in a few calls; AdamW has one kernel for it. On TensorFlow,
    Keras runs about twenty operations per variable, where AdamW has a fused kernel. On JAX the compiler fuses the loop.
    """
    if keras.backend.backend() == "torch":
        fastest = type(optimizer())
        return _fuse_on_torch(fastest) if optimizer is keras.optimizers.AdamW else fastest
    if keras.backend.backend() == "tensorflow" and optimizer is keras.optimizers.AdamW:
        return _FusedOnTensorFlow
    return optimizer


def _fuse_on_torch(adamw: Any) -> Any:
    """Returns AdamW with torch's kernel on a CPU, and the same numbers; `amsgrad`, half precision, GPUs and `torch.compile` use Keras' update."""
    import torch

    class FusedOnTorch(adamw):  # type: ignore[misc]
        def _parallel_update_step(
            self, grads: Sequence[Tensor], variables: Sequence[Any], learning_rate: Tensor
        ) -> None:
            weights = [variable.value for variable in variables]
            has_kernel = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in weights)
            if self.amsgrad or not has_kernel or torch.compiler.is_compiling():
                super()._parallel_update_step(grads, variables, learning_rate)
                return
            indices = [self._get_variable_index(variable) for variable in variables]
            momentums, velocities = (
                [kept[index].value for index in indices] for kept in (self._momentums, self._velocities)
            )
            step = int(self.iterations) + 1
            torch._fused_adamw_(
                weights,
                [gradient.contiguous() for gradient in grads],
                momentums,
                velocities,
                [],
                [torch.tensor(float(step))] * len(weights),
                lr=float(learning_rate),
                beta1=self.beta_1,
                beta2=self.beta_2,
                weight_decay=0.0,  # `_apply_weight_decay` does it
                eps=self.epsilon / (1 - self.beta_2**step) ** 0.5,  # Keras adds epsilon before the bias correction
                amsgrad=False,
                maximize=False,
            )

    return FusedOnTorch


class _FusedOnTensorFlow(keras.optimizers.AdamW):
    """AdamW with one TensorFlow kernel per variable and the same numbers; `amsgrad` and half precision use Keras' update."""

    def build(self, variables: Iterable[keras.Variable]) -> None:
        variables = list(variables)
        super().build(variables)
        # In half precision the kernel would round beta_2=0.999 to 1.
        self._fused = not self.amsgrad and all(variable.dtype == "float32" for variable in variables)

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Tensor
    ) -> None:
        if self._fused:  # bias correction, the same for all variables
            step = ops.cast(self.iterations + 1, "float32")
            learning_rate *= ops.sqrt(1 - ops.power(self.beta_2, step)) / (1 - ops.power(self.beta_1, step))
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        if not self._fused:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=0.0,
            beta2_power=0.0,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(tf.cast(gradient, variable.dtype)),  # an embedding's gradient is an IndexedSlices
        )
