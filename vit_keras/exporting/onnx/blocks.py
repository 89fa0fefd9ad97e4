"""Transformer blocks and attention pooling as ONNX nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vit_keras.exporting.onnx.activations import add_activation
from vit_keras.exporting.onnx.dense import add_dense, add_layer_norm
from vit_keras.exporting.onnx.graph import Graph, refuse
from vit_keras.exporting.onnx.rotary import add_rotary


def add_block(
    graph: Graph,
    name: str,
    inputs: Sequence[str],
    *,
    num_heads: int,
    mlp_dim: int,
    parallel: bool,
    activation: str,
    gated_mlp: bool,
    mlp_inner_norm: bool,
    attention_inner_norm: bool,
    qkv_bias: str,
    qk_norm: bool,
    rotary: dict[str, Any] | None,
    norm_epsilon: float,
    layer_scale: float | None,
    dropout_rate: float,
    attention_dropout_rate: float,
    stochastic_depth_rate: float,
    remat: str,
) -> str:
    """Adds a `TransformerBlock` or a `ParallelBlock`; dropout, stochastic depth and remat are for training alone."""
    tokens = inputs[0]

    def attend(normed: str) -> str:
        return add_attention(
            graph, normed, name=f"{name}/attention", num_heads=num_heads, qkv_bias=qkv_bias, qk_norm=qk_norm,
            inner_norm=attention_inner_norm, norm_epsilon=norm_epsilon, rotary=rotary,
        )  # fmt: skip

    def feed_forward(normed: str) -> str:
        return add_mlp(
            graph, normed, name=f"{name}/mlp", activation=activation, gated=gated_mlp, mlp_dim=mlp_dim,
            inner_norm=mlp_inner_norm, norm_epsilon=norm_epsilon,
        )  # fmt: skip

    def scale(branch: str, part: str) -> str:
        if layer_scale is None:
            return branch
        return graph.add("Mul", branch, graph.weight(f"{name}/{part}/gamma"), name=f"{name}/{part}")

    if parallel:
        normed = add_layer_norm(graph, tokens, name=f"{name}/norm", epsilon=norm_epsilon)
        both = graph.add("Add", attend(normed), feed_forward(normed), name=f"{name}/branches")
        return graph.add("Add", tokens, scale(both, "scale"), name=name)
    normed = add_layer_norm(graph, tokens, name=f"{name}/attention_norm", epsilon=norm_epsilon)
    tokens = graph.add("Add", tokens, scale(attend(normed), "attention_scale"), name=f"{name}/attention_residual")
    normed = add_layer_norm(graph, tokens, name=f"{name}/mlp_norm", epsilon=norm_epsilon)
    return graph.add("Add", tokens, scale(feed_forward(normed), "mlp_scale"), name=name)


def add_attention(
    graph: Graph,
    tokens: str,
    *,
    name: str,
    num_heads: int,
    qkv_bias: str,
    qk_norm: bool,
    inner_norm: bool,
    norm_epsilon: float,
    rotary: dict[str, Any] | None,
) -> str:
    """Adds `SelfAttention`."""
    hidden_dim = graph.weights[f"{name}/qkv/kernel"].shape[0]
    head_dim = hidden_dim // num_heads
    bias = None
    if qkv_bias == "query_value":
        query, value = (graph.weights[f"{name}/{part}"] for part in ("query_bias", "value_bias"))
        bias = np.concatenate([query, np.zeros_like(query), value])
    elif qkv_bias not in ("all", "none"):
        raise refuse(f"qkv_bias={qkv_bias!r}")
    qkv = add_dense(graph, tokens, name=f"{name}/qkv", bias=bias)
    # (batch, tokens, 3 * heads, head_dim), then (batch, 3 * heads, tokens, head_dim): one transposition for all three.
    qkv = graph.reshape(qkv, 0, 0, 3 * num_heads, head_dim, name=f"{name}/heads")
    qkv = graph.add("Transpose", qkv, name=f"{name}/heads_first", perm=[0, 2, 1, 3])
    parts = graph.split(qkv, ["queries", "keys", "values"], axis=1, size=num_heads, name=f"{name}/split")
    queries, keys, values = parts
    if qk_norm:
        queries = add_layer_norm(graph, queries, name=f"{name}/query_norm", epsilon=norm_epsilon)
        keys = add_layer_norm(graph, keys, name=f"{name}/key_norm", epsilon=norm_epsilon)
    if rotary is not None:
        queries, keys = (
            add_rotary(
                graph, heads, name=f"{name}/rotary", of=of, num_heads=num_heads, head_dim=head_dim, rotary=rotary
            )
            for heads, of in ((queries, "queries"), (keys, "keys"))
        )
    queries = graph.add("Mul", queries, graph.number(head_dim**-0.5), name=f"{name}/scaled_queries")
    attended = _add_weighted_sum(graph, queries, keys, values, name=name)
    graph.attention = f"{name}/weights"
    joined = graph.reshape(attended, 0, 0, hidden_dim, name=f"{name}/joined")
    if inner_norm:
        joined = add_layer_norm(graph, joined, name=f"{name}/inner_norm", epsilon=norm_epsilon)
    return add_dense(graph, joined, name=f"{name}/output")


def _add_weighted_sum(graph: Graph, queries: str, keys: str, values: str, *, name: str) -> str:
    """Returns `(batch, queries, heads, head_dim)` from queries that are scaled, keys and values, `(batch, heads, ..., head_dim)`."""
    turned = graph.add("Transpose", keys, name=f"{name}/turned_keys", perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", queries, turned, name=f"{name}/scores")
    weights = graph.add("Softmax", scores, name=f"{name}/weights", axis=-1)
    attended = graph.add("MatMul", weights, values, name=f"{name}/attended")
    return graph.add("Transpose", attended, name=f"{name}/tokens_first", perm=[0, 2, 1, 3])


def add_mlp(
    graph: Graph,
    tokens: str,
    *,
    name: str,
    activation: str,
    mlp_dim: int,
    norm_epsilon: float,
    gated: bool = False,
    inner_norm: bool = False,
) -> str:
    """Adds an `MLP`."""
    inside = add_dense(graph, tokens, name=f"{name}/expand")
    if gated:
        gates, up = graph.split(inside, ["gates", "values"], axis=-1, size=mlp_dim, name=f"{name}/split")
        active = add_activation(graph, activation, gates, name=f"{name}/{activation}")
        inside = graph.add("Mul", active, up, name=f"{name}/gated")
    else:
        inside = add_activation(graph, activation, inside, name=f"{name}/{activation}")
    if inner_norm:
        inside = add_layer_norm(graph, inside, name=f"{name}/inner_norm", epsilon=norm_epsilon)
    return add_dense(graph, inside, name=f"{name}/contract")


def add_attention_pooling(
    graph: Graph,
    name: str,
    inputs: Sequence[str],
    *,
    num_heads: int,
    mlp_dim: int,
    activation: str,
    norm_epsilon: float,
    num_skipped_tokens: int,
) -> str:
    """Adds `AttentionPooling`; the query does not depend on the images, so its projection is a constant."""
    (tokens,) = inputs
    if num_skipped_tokens:
        tokens = graph.slice(tokens, num_skipped_tokens, axis=1, name=f"{name}/patch_tokens")
    kernel, bias, probe = (graph.weights[f"{name}/{each}"] for each in ("query/kernel", "query/bias", "probe"))
    hidden_dim = len(kernel)
    head_dim = hidden_dim // num_heads
    query = (probe.reshape(hidden_dim).astype("float64") @ kernel + bias) * head_dim**-0.5
    queries = graph.constant(f"{name}/query", query.reshape(1, num_heads, 1, head_dim).astype("float32"))
    both = add_dense(graph, tokens, name=f"{name}/key_value")
    both = graph.reshape(both, 0, 0, 2 * num_heads, head_dim, name=f"{name}/heads")
    both = graph.add("Transpose", both, name=f"{name}/heads_first", perm=[0, 2, 1, 3])
    keys, values = graph.split(both, ["keys", "values"], axis=1, size=num_heads, name=f"{name}/split")
    attended = _add_weighted_sum(graph, queries, keys, values, name=name)  # (batch, 1, heads, head_dim)
    attended = graph.reshape(attended, 0, hidden_dim, name=f"{name}/joined")
    attended = add_dense(graph, attended, name=f"{name}/output")
    normed = add_layer_norm(graph, attended, name=f"{name}/mlp_norm", epsilon=norm_epsilon)
    fed = add_mlp(graph, normed, name=f"{name}/mlp", activation=activation, mlp_dim=mlp_dim, norm_epsilon=norm_epsilon)
    return graph.add("Add", attended, fed, name=name)
