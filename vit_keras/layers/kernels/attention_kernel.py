"""Which kernel the scores and the weighted sum run in, and why where it is not the fastest."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor

FLASH, FUSED, PRODUCTS = "cuDNN flash attention", "Keras' dot_product_attention", "matrix products"
_SHORT = 512  # tokens, up to which weights are held in memory on torch, whose own kernel on a CPU never holds all
_HALF = ("bfloat16", "float16")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AttentionKernel:
    """How attention is computed.

    Args:
        name: `FLASH`, `FUSED` or `PRODUCTS`.
        padding: Tokens that are added, and not looked at, because the kernel takes no odd number of them.
        reason: Why it is not `FLASH` where a GPU would have that; else an empty word.
    """

    name: str
    padding: int = 0
    reason: str = ""

    def attend(self, qkv: Tensor) -> Tensor:
        """Returns, for each token, the values of all tokens weighted by how much it looks at them.

        Args:
            qkv: `(batch, tokens, 3, heads, head_dim)`: queries, keys and values.
        """
        if self.name == PRODUCTS:
            return attend_by_products(qkv)
        queries, keys, values = (qkv[:, :, index] for index in range(3))
        if self.name == FLASH:
            return _padded_attention(queries, keys, values, self.padding, implementation="cudnn")
        # Where JAX takes no flash attention in training, Keras' own look at inference would have it and fail.
        return ops.dot_product_attention(queries, keys, values, flash_attention=False if self.reason else None)


def attend_by_products(qkv: Tensor, dropout: Callable[[Tensor], Tensor] = lambda weights: weights) -> Tensor:
    """Returns what `AttentionKernel.attend` does, by two batched matrix products, the weights between them in memory.

    Args:
        qkv: `(batch, tokens, 3, heads, head_dim)`.
        dropout: Called with the weights, `(batch, heads, tokens, tokens)`.
    """
    queries, keys, values = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # (batch, heads, tokens, head_dim)
    queries = queries * qkv.shape[-1] ** -0.5
    scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
    weights = ops.softmax(ops.cast(scores, "float32"))  # never in half precision
    weights = dropout(ops.cast(weights, scores.dtype))
    return ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))


def attention_kernel(*, tokens: int, num_heads: int, head_dim: int, dtype: str) -> AttentionKernel:
    """Returns the fastest kernel that the backend has here for training and inference; on a GPU a slower one is said once in the log.

    Args:
        tokens: An image.
        num_heads: Attention heads.
        head_dim: Width of each.
        dtype: What is computed in.

    Example:
        >>> attention_kernel(tokens=197, num_heads=12, head_dim=64, dtype="float32").name == FLASH
        False
    """
    backend, platform = keras.backend.backend(), _platform()
    if backend == "jax" and platform == "gpu":
        return _on_a_gpu_with_jax(tokens, num_heads, head_dim, dtype)
    # TensorFlow has no other, and on a CPU products are the fastest form: benchmarks/attention_forms.py.
    if backend == "tensorflow" or (platform == "cpu" and (backend == "jax" or tokens <= _SHORT)):
        return AttentionKernel(name=PRODUCTS)
    return AttentionKernel(name=FUSED)


def _platform() -> str:
    """Returns where the backend computes now: `keras.device` can say another than its first device."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.config.jax_default_device  # type: ignore[attr-defined]
        return str(getattr(device, "platform", device) or jax.devices()[0].platform)
    if keras.backend.backend() == "torch":
        return str(ops.convert_to_tensor(0).device.type)
    return ""  # which nothing hangs on


@functools.lru_cache(256)
def _on_a_gpu_with_jax(tokens: int, num_heads: int, head_dim: int, dtype: str) -> AttentionKernel:
    """Returns cuDNN's kernel where it takes this shape, its gradient too, or what JAX says against it."""
    reason = f"{dtype} has no flash attention: take mixed_bfloat16"
    if dtype in _HALF:
        for padding in (0, tokens % 2):  # JAX 0.11 refuses an odd number in training
            reason = _refusal((1, tokens, num_heads, head_dim), dtype, padding)
            if not reason:
                return AttentionKernel(name=FLASH, padding=padding)
    _log.warning("attention of %d tokens in heads of %d runs in XLA's products: %s", tokens, head_dim, reason)
    return AttentionKernel(name=FUSED, reason=reason)


def _refusal(shape: tuple[int, ...], dtype: str, padding: int) -> str:
    """Returns why cuDNN's attention of a shape and its gradient can't be compiled here, found by trying; else an empty word."""
    import jax
    import jax.numpy as jnp

    def total(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return jnp.sum(_padded_attention(queries, keys, values, padding, implementation="cudnn"))

    given = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
    try:
        _compile(jax.jit(jax.grad(total, argnums=(0, 1, 2))).trace(given, given, given))
    except Exception as error:  # JAX, XLA and cuDNN raise half a dozen kinds for what they do not take
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _compile(traced: Any) -> None:
    traced.lower().compile()


def _padded_attention(
    queries: Tensor, keys: Tensor, values: Tensor, padding: int, *, implementation: Literal["cudnn", "xla"]
) -> Tensor:
    """Returns attention by one of JAX's kernels, on tokens padded at the end, which no token looks at."""
    import jax
    import jax.numpy as jnp

    if not padding:
        return jax.nn.dot_product_attention(queries, keys, values, implementation=implementation)
    batch, tokens, _, _ = queries.shape
    queries, keys, values = (jnp.pad(each, ((0, 0), (0, padding), (0, 0), (0, 0))) for each in (queries, keys, values))
    found = jax.nn.dot_product_attention(
        queries, keys, values,
        key_value_seq_lengths=jnp.full((batch,), tokens, "int32"), implementation=implementation,
    )  # fmt: skip
    return found[:, :tokens]
