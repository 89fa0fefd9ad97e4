"""Recomputes every step of a block, since the model's fused path does not return them."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import DifferentialAttention, SelfAttention, TransformerBlock
from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.mlp import ACTIVATIONS
from vit_keras.models.architecture import IMAGES
from vit_keras.models.wiring import ModelParts, read_model


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockRecord:
    """Every step of a block in inference, as tensors of the backend.

    Dosovitskiy et al. 2021, arXiv 2010.11929, equations 2 and 3 and appendix A. Tokens are `(batch, tokens, width)`, heads
    `(batch, heads, tokens, head_dim)`. In a parallel block `after_attention` is the block's input. `scores` include relative position
    biases. With `block_norm="after"`, `normed` and `mlp_normed` are the inputs of attention and MLP, and `attended` and `contracted`
    their normalized outputs.
    """

    tokens: Tensor
    normed: Tensor
    queries: Tensor
    keys: Tensor
    values: Tensor
    scores: Tensor
    weights: Tensor
    heads: Tensor
    joined: Tensor
    attended: Tensor
    after_attention: Tensor
    mlp_normed: Tensor
    expanded: Tensor
    contracted: Tensor
    output: Tensor


def compute_block_inputs(model: keras.Model, images: np.ndarray, indices: Sequence[int]) -> dict[int, Tensor]:
    """Returns the inputs of some blocks by index, without running the blocks after the last of them."""
    parts = read_model(model)
    bias, last = compute_shared_bias(parts), max(indices)
    tokens = embedding_model(parts)(images, training=False)
    inputs = {}
    for index, block in enumerate(parts.blocks[: last + 1]):
        if index in indices:
            inputs[index] = tokens
        if index < last:
            tokens = block(tokens, attention_bias=bias, training=False)
    return inputs


def embedding_model(parts: ModelParts) -> keras.Model:
    """Returns a model from images to the input of the first block."""
    return keras.Model(parts.tensors[IMAGES], parts.tensors["stem_norm" if parts.config.stem_norm else "patch_encoder"])


def compute_shared_bias(parts: ModelParts) -> Tensor | None:
    """Returns the bias of the attention scores that all blocks share, `(heads, tokens, tokens)`; None without one."""
    layer = parts.layers.get("relative_position")
    return None if layer is None else layer(np.zeros((1, parts.config.num_tokens, parts.config.hidden_dim), "float32"))


def record_block(
    block: TransformerBlock, tokens: Tensor, added: Tensor | None = None, *, shared_bias: Tensor | None = None
) -> BlockRecord:
    """Runs a block and returns every step.

    `added`, `(batch, heads, tokens, tokens)`, is added to the attention weights, to take the gradient with respect to them;
    `shared_bias` is what `compute_shared_bias` returns.
    """
    is_after = block.block_norm == "after"
    normed = tokens if is_after else block.attention_norm(tokens)
    queries, keys, values = project_qkv(block.attention, normed)
    scores = compute_scores(queries, keys, block.attention.add_position_bias(normed, shared_bias))
    weights = ops.softmax(scores)
    if added is not None:
        weights = weights + added
    heads = ops.matmul(ops.cast(weights, values.dtype), values)
    _, count, num_tokens, head_dim = heads.shape
    joined = ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (-1, num_tokens, count * head_dim))
    attended = block.attention.output_projection(block.attention.normalize(joined))
    attended = block.attention_norm(attended) if is_after else attended
    after_attention = tokens if block.parallel else tokens + block.scales[0](attended)
    mlp_normed = normed if block.parallel else after_attention if is_after else block.mlp_norm(after_attention)
    expanded = _expand(block, mlp_normed)
    contracted = block.mlp.contract(expanded)
    contracted = block.mlp_norm(contracted) if is_after else contracted
    branches = block.scales[0](attended + contracted) if block.parallel else block.scales[1](contracted)
    output = after_attention + branches
    return BlockRecord(
        tokens=tokens, normed=normed, queries=queries, keys=keys, values=values, scores=scores, weights=weights, heads=heads,
        joined=joined, attended=attended, after_attention=after_attention, mlp_normed=mlp_normed, expanded=expanded,
        contracted=contracted, output=output,
    )  # fmt: skip


def compute_weights(block: TransformerBlock, tokens: Tensor, *, shared_bias: Tensor | None = None) -> Tensor:
    """Returns a block's attention weights, `(batch, heads, tokens, tokens)`, without its other steps."""
    normed = tokens if block.block_norm == "after" else block.attention_norm(tokens)
    queries, keys, _ = project_qkv(block.attention, normed)
    return ops.softmax(compute_scores(queries, keys, block.attention.add_position_bias(normed, shared_bias)))


def project_qkv(attention: SelfAttention, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns queries, keys and values, each `(batch, heads, tokens, head_dim)`, after norms and rotary embedding."""
    if isinstance(attention, DifferentialAttention):
        raise InvalidArgumentError(
            "The model has differential_attention=True: each head subtracts one attention map from another, so it has no attention "
            "weights that are positive and sum to 1. Explain it by its features: vit_keras.explain.block_features."
        )
    _, count, hidden_dim = normed.shape
    qkv = attention.qkv(normed)
    if attention.qkv_bias == "query_value":
        no_bias = ops.zeros((hidden_dim,), attention.query_bias.dtype)
        qkv = qkv + ops.cast(ops.concatenate([attention.query_bias, no_bias, attention.value_bias]), qkv.dtype)
    qkv = ops.reshape(qkv, (-1, count, 3, attention.num_heads, hidden_dim // attention.num_heads))
    queries, keys, values = ops.unstack(qkv, 3, axis=2)
    queries, keys = attention.rotate(attention.query_norm(queries)), attention.rotate(attention.key_norm(keys))
    queries, keys, values = (ops.transpose(each, (0, 2, 1, 3)) for each in (queries, keys, values))
    return queries, keys, values


def compute_scores(queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns the scaled dot products of queries and keys plus a bias, `(batch, heads, tokens, tokens)`, float32."""
    scaled = queries * queries.shape[-1] ** -0.5
    scores = ops.cast(ops.matmul(scaled, ops.transpose(keys, (0, 1, 3, 2))), "float32")
    return scores if bias is None else scores + bias


def _expand(block: TransformerBlock, normed: Tensor) -> Tensor:
    inside, activation = block.mlp.expand(normed), ACTIVATIONS[block.activation]
    if not block.gated_mlp:
        return block.mlp.normalise(activation(inside))
    gates, values = ops.split(inside, 2, axis=-1)
    return block.mlp.normalise(activation(gates) * values)
