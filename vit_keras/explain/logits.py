"""Recomputes what the model does with the output of a block, `(batch, tokens, hidden_dim)`: pooling and head."""

from collections.abc import Sequence

import keras
from keras import ops

from vit_keras.explain.block_record import compute_scores
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.own_head import ends_in_probabilities, is_probabilities
from vit_keras.models.wiring import read_model


def compute_pooling_attention(model: keras.Model, tokens: Tensor) -> Tensor:
    """Returns the attention weights of attention pooling, `(batch, heads, tokens)`; 0 for tokens that it skips."""
    pooling = read_model(model).layers["pooling"]
    skipped = pooling.num_skipped_tokens
    tokens = tokens[:, skipped:]
    heads, (_, count, hidden_dim) = pooling.num_heads, tokens.shape
    head_dim = hidden_dim // heads
    queries = ops.reshape(pooling.query(ops.cast(pooling.probe, tokens.dtype)), (1, heads, 1, head_dim))
    keys = ops.reshape(pooling.key_value(tokens), (-1, count, 2, heads, head_dim))[:, :, 0]
    scores = compute_scores(queries, ops.transpose(keys, (0, 2, 1, 3)))
    return ops.pad(ops.softmax(scores)[:, :, 0], ((0, 0), (0, 0), (skipped, 0)))


def compute_logits(model: keras.Model, tokens: Tensor) -> Tensor:
    """Returns the logits, before any softmax, for the output of a block; the features if the model has no head."""
    parts = read_model(model)
    config, layers = parts.config, parts.layers
    tokens = normalize_for_pooling(model, tokens)
    seen = layers["pooling"](tokens)
    if config.final_norm == "after":
        seen = layers["final_norm"](seen)
    if config.pre_logits_dim is not None:
        seen = layers["pre_logits"](seen)
    outputs = [_apply_without_activation(layers.get("head"), seen)]
    if config.has_two_heads:
        second = layers["distillation_pooling"](tokens)
        outputs.append(_apply_without_activation(layers.get("head_distillation"), second))
    output = sum(outputs[1:], outputs[0]) / len(outputs)
    return _apply_own_head(parts.own_head, output)


def normalize_for_pooling(model: keras.Model, tokens: Tensor) -> Tensor:
    """Returns the input of the pooling for the output of a block."""
    parts = read_model(model)
    return parts.layers["final_norm"](tokens) if parts.config.final_norm == "before" else tokens


def _apply_own_head(own_head: Sequence[keras.layers.Layer], output: Tensor) -> Tensor:
    """Applies the user's own layers after the head, without a softmax or sigmoid at the end."""
    layers = list(own_head)
    while layers and is_probabilities(layers[-1]):
        layers.pop()
    for layer in layers:
        at_end = layer is layers[-1] and isinstance(layer, keras.layers.Dense) and ends_in_probabilities(layer)
        output = _apply_without_activation(layer, output) if at_end else layer(output)
    return output


def _apply_without_activation(head: keras.layers.Dense | None, seen: Tensor) -> Tensor:
    if head is None:
        return seen
    logits = ops.matmul(ops.cast(seen, "float32"), head.kernel)
    return logits + head.bias if head.use_bias else logits
