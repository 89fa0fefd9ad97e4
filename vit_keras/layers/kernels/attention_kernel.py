"""Chooses the kernel that computes attention, and says why."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.base.grids import valid_mask

FLASH = "cuDNN flash attention"
XLA = "XLA attention"
FUSED = "scaled dot product attention"
PRODUCTS = "batched matrix products"

_SHORT = (
    512  # tokens; above, the gradient of torch's fused kernel is faster on a CPU, since it never stores all weights
)
_HALF = ("bfloat16", "float16")
MASKED_SCORE = -1e30
"""A score whose weight is 0: every image has a token that is not masked."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AttentionKernel:
    """How attention is computed, and why so."""

    name: str  # `FLASH`, `XLA`, `FUSED` or `PRODUCTS`
    padding: int = 0  # masked tokens that are appended because the kernel takes no odd number of tokens
    reason: str = ""
    has_padding: bool = False  # of packed images: their last tokens are masked

    def __str__(self) -> str:
        padding = f" with {self.padding} padding token" if self.padding else ""
        padding += ", the padding of packed images masked" if self.has_padding else ""
        return f"{self.name}{padding}" + (f" ({self.reason})" if self.reason else "")

    def attend(
        self,
        qkv: Tensor,
        dropout: Callable[..., Tensor] | None = None,
        bias: Tensor | None = None,
        num_valid: Tensor | None = None,
    ) -> Tensor:
        """Returns softmax attention, `(batch, tokens, heads, head_dim)`, from `qkv`, `(batch, tokens, 3, heads, head_dim)`.

        `dropout`, a layer that drops attention weights, and `bias`, `(heads, tokens, tokens)`, which is added to the scores, are for
        `attend_by_products` alone. No token attends to those after the first `num_valid` of its image, `(batch,)`.
        """
        if self.name == PRODUCTS:
            return attend_by_products(qkv, dropout, bias, num_valid)
        queries, keys, values = (qkv[:, :, index] for index in range(3))
        if self.name == FLASH:
            return _padded_attention(queries, keys, values, self.padding, num_valid, implementation="cudnn")
        mask = None if num_valid is None else valid_mask(num_valid, qkv.shape[1])[:, None, None]
        if self.name == FUSED and keras.backend.backend() == "torch":
            return _scaled_dot_product_attention(queries, keys, values, mask)
        # XLA: Keras would choose flash attention in inference, and fail where JAX can't compile it.
        flash = False if self.name == XLA else None
        return ops.dot_product_attention(queries, keys, values, mask=mask, flash_attention=flash)


def attend_by_products(
    qkv: Tensor,
    dropout: Callable[..., Tensor] | None = None,
    bias: Tensor | None = None,
    num_valid: Tensor | None = None,
) -> Tensor:
    """Returns what `AttentionKernel.attend` does, by two batched matrix products with the weights between them in memory."""
    queries, keys, values = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # (batch, heads, tokens, head_dim)
    queries = queries * qkv.shape[-1] ** -0.5
    scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
    wide = ops.cast(scores, "float32")  # never in half precision
    if bias is not None:
        wide = wide + ops.cast(bias, "float32")
    if num_valid is not None:
        wide = ops.where(valid_mask(num_valid, ops.shape(qkv)[1])[:, None, None], wide, MASKED_SCORE)
    weights = ops.cast(ops.softmax(wide), scores.dtype)
    if dropout is not None:
        weights = dropout(weights)
    return ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))


def _scaled_dot_product_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Returns attention by torch's own kernel, which takes `(batch, heads, tokens, head_dim)` without a copy, where Keras copies it."""
    import torch

    queries, keys, values = (each.transpose(1, 2) for each in (queries, keys, values))
    attended = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return attended.transpose(1, 2)


def attention_kernel(
    *,
    num_tokens: int,
    num_heads: int,
    head_dim: int,
    dtype: str,
    training: bool,
    dropout: bool = False,
    bias: bool = False,
    has_padding: bool = False,
) -> AttentionKernel:
    """Returns the kernel that `SelfAttention` uses on this backend and device; the log says once why a GPU can't use flash attention."""
    if has_padding:
        plain = attention_kernel(
            num_tokens=num_tokens, num_heads=num_heads, head_dim=head_dim, dtype=dtype, training=training, dropout=dropout, bias=bias,
        )  # fmt: skip
        return replace(plain, has_padding=True)
    if dropout:
        return AttentionKernel(name=PRODUCTS, reason="attention dropout needs the weights in memory")
    if bias:
        return AttentionKernel(name=PRODUCTS, reason="a bias is added to the scores in memory")
    backend, platform = keras.backend.backend(), _platform()
    if backend == "jax" and platform == "gpu":
        return _choose_for_jax_on_gpu(num_tokens, num_heads, head_dim, dtype)
    if backend == "tensorflow":
        return AttentionKernel(name=PRODUCTS, reason="TensorFlow has no fused kernel")
    if platform == "cpu" and (backend == "jax" or (training and num_tokens <= _SHORT)):
        return AttentionKernel(name=PRODUCTS, reason="fastest on a CPU")  # benchmarks/attention_forms.py
    return AttentionKernel(name=FUSED, reason=f"fastest for {num_tokens} tokens on {platform}")


def _platform() -> str:
    """Returns the platform of the current device, which `keras.device` can change."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.config.jax_default_device  # type: ignore[attr-defined]
        return str(getattr(device, "platform", device) or jax.devices()[0].platform)
    if keras.backend.backend() == "torch":
        return str(ops.convert_to_tensor(0).device.type)
    return ""  # makes no difference on TensorFlow


@functools.lru_cache(256)
def _choose_for_jax_on_gpu(num_tokens: int, num_heads: int, head_dim: int, dtype: str) -> AttentionKernel:
    reason = f"{dtype} has no flash attention: use mixed_bfloat16"
    if dtype in _HALF:
        for padding in (0, num_tokens % 2):  # JAX 0.11 refuses an odd number of tokens in training
            reason = _refusal((1, num_tokens, num_heads, head_dim), dtype, padding)
            if not reason:
                return AttentionKernel(name=FLASH, padding=padding, reason="fastest on a GPU")
    _log.warning("attention of %d tokens in heads of %d is computed by XLA: %s", num_tokens, head_dim, reason)
    return AttentionKernel(name=XLA, reason=reason)


def _refusal(shape: tuple[int, ...], dtype: str, padding: int) -> str:
    """Returns why cuDNN's attention and its gradient can't be compiled for a shape; an empty string where they can."""
    import jax
    import jax.numpy as jnp

    def total(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return jnp.sum(_padded_attention(queries, keys, values, padding, implementation="cudnn"))

    operand = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
    try:
        _compile(jax.jit(jax.grad(total, argnums=(0, 1, 2))).trace(operand, operand, operand))
    except Exception as error:  # JAX, XLA and cuDNN raise many kinds
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _compile(traced: Any) -> None:
    traced.lower().compile()


def _padded_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    padding: int,
    num_valid: Tensor | None = None,
    *,
    implementation: Literal["cudnn", "xla"],
) -> Tensor:
    """Returns attention by one of JAX's kernels, with masked tokens appended."""
    import jax
    import jax.numpy as jnp

    if not padding and num_valid is None:
        return jax.nn.dot_product_attention(queries, keys, values, implementation=implementation)
    batch, tokens, _, _ = queries.shape
    queries, keys, values = (jnp.pad(each, ((0, 0), (0, padding), (0, 0), (0, 0))) for each in (queries, keys, values))
    attended = jax.nn.dot_product_attention(
        queries, keys, values,
        key_value_seq_lengths=jnp.full((batch,), tokens, "int32") if num_valid is None else num_valid, implementation=implementation,
    )  # fmt: skip
    return attended[:, :tokens]
