"""Layer and RMS normalization, fused in training on TensorFlow."""

import functools
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor
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


@keras.saving.register_keras_serializable(package="vit_keras")
class RMSNorm(BaseLayer):
    """Tokens divided by their root mean square over the last axis, times learned scales.

    Paper: Zhang and Sennrich 2019, arXiv 1910.07467, equation 4; our `gamma` is their g.

    Args:
        epsilon: Added to the mean square.

    Shapes:
        tokens: `(..., hidden_dim)`.
        returns: The same.

    Example:
        >>> RMSNorm(epsilon=1e-5)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(self, *, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        """Creates the scales."""
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", autocast=False, name="gamma")
        self.built = True

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Normalizes in float32."""
        if training and fuses():
            return _divide_by_rms(self.epsilon, is_fused=True)(tokens, self.gamma)
        wide, gamma = (ops.cast(each, "float32") for each in (tokens, self.gamma))
        return ops.cast(_divide_by_rms(self.epsilon, is_fused=False)(wide, gamma), tokens.dtype)


@functools.cache
def _divide_by_rms(epsilon: float, *, is_fused: bool) -> Any:
    def divide(tokens: Tensor, gamma: Tensor) -> Tensor:
        return tokens * ops.rsqrt(ops.mean(ops.square(tokens), -1, keepdims=True) + epsilon) * gamma

    return fused(divide) if is_fused else divide


NORMS: dict[str, type[keras.layers.Layer]] = {"layer": LayerNorm, "rms": RMSNorm}
"""Norms by the name that `ViTConfig.norm` has for them."""
