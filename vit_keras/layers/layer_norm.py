"""Layer and RMS normalization, fused on TensorFlow in training and in `predict`."""

import functools
from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape, Tensor
from vit_keras.layers.kernels.fused import fused, fuses
from vit_keras.layers.kernels.local_graph import is_local_graph


@keras.saving.register_keras_serializable(package="vit_keras")
class LayerNorm(keras.layers.LayerNormalization):
    """Keras' `LayerNormalization` over the last axis, faster on TensorFlow in training and in `predict`.

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
        if _is_half_on_torch(tokens):
            import torch

            gamma, beta = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
            normalized = torch.nn.functional.layer_norm(tokens, tokens.shape[-1:], gamma, beta, self.epsilon)
            return ops.cast(normalized, self.compute_dtype)
        if not (training or is_local_graph()) or not fuses():
            return super().call(tokens)
        return _normalize(self.epsilon)(tokens, self.gamma, self.beta)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        return {name: config[name] for name in ("name", "trainable", "dtype", "epsilon")}


def _is_half_on_torch(tokens: Tensor) -> bool:
    """True where torch's kernel takes half precision and weights in float32: on a CPU. Keras would cast the tokens before and after."""
    if keras.backend.backend() != "torch" or tokens.device.type != "cpu":
        return False
    return keras.backend.standardize_dtype(tokens.dtype) in ("bfloat16", "float16")


@functools.cache
def _normalize(epsilon: float) -> Any:
    def standardize(tokens: Tensor) -> tuple[Tensor, Tensor]:
        centered = tokens - _mean(tokens)
        scale = ops.rsqrt(_mean(ops.square(centered)) + epsilon)
        return centered * scale, scale

    def normalize(tokens: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return standardize(tokens)[0] * gamma + beta

    def gradient(tokens: Tensor, gamma: Tensor, beta: Tensor, of_result: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        standard, scale = standardize(tokens)
        inside = of_result * gamma
        of_tokens = scale * (inside - _mean(inside) - standard * _mean(inside * standard))
        rows = tuple(range(len(tokens.shape) - 1))
        return of_tokens, ops.sum(of_result * standard, rows), ops.sum(of_result, rows)

    return fused(normalize, gradient)


def _mean(values: Tensor) -> Tensor:
    """Returns the means over the last axis, which keeps size 1, as a matrix product: XLA does not vectorize a sum on a CPU."""
    width = values.shape[-1]
    return ops.matmul(values, ops.full((width, 1), 1 / width, "float32"))


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
        if (training or is_local_graph()) and fuses():
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
