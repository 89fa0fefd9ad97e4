"""Layer normalization, fused in training on TensorFlow."""

import functools
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.kernels.fused import fused, fuses


@keras.saving.register_keras_serializable(package="vit_keras")
class LayerNorm(keras.layers.LayerNormalization):
    """Keras' `LayerNormalization` over the last axis, faster in training on TensorFlow.

    Paper: Ba et al. 2016, arXiv 1607.06450.

    Args:
        epsilon: Added to the variance.

    Shapes:
        tokens: `(..., hidden_dim)`.
        returns: The same.

    Example:
        >>> LayerNorm(epsilon=1e-6)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(self, *, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(epsilon=epsilon, **kwargs)

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Normalizes in float32."""
        if not training or not fuses():
            return super().call(tokens)
        return _normalize(self.epsilon)(tokens, self.gamma, self.beta)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        return {name: config[name] for name in ("name", "trainable", "dtype", "epsilon")}


@functools.cache
def _normalize(epsilon: float) -> Any:
    def normalize(tokens: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        centered = tokens - ops.mean(tokens, -1, keepdims=True)
        scale = ops.rsqrt(ops.mean(ops.square(centered), -1, keepdims=True) + epsilon)
        return centered * scale * gamma + beta

    return fused(normalize)
