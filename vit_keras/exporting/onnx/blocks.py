"""Transformer blocks and attention pooling as ONNX nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vit_keras.exporting.onnx.activations import add_activation
from vit_keras.exporting.onnx.dense import add_dense, add_norm
from vit_keras.exporting.onnx.graph import Graph, refuse
from vit_keras.exporting.onnx.relative_position import add_relative_position
from vit_keras.exporting.onnx.rotary import add_rotary
from vit_keras.layers.differential_attention import EPSILON as DIFFERENTIAL_EPSILON


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
    relative_position: dict[str, Any] | None,
    differential_lambda: float | None,
    projection_bias: bool,
    norm: str,
    block_norm: str,
    norm_epsilon: float,
    layer_scale: float | None,
    dropout_rate: float,
    attention_dropout_rate: float,
    stochastic_depth_rate: float,
    remat: str,
    attention_bias: str | None = None,
) -> str:
    """Adds a `TransformerBlock` or a `ParallelBlock`; dropout, stochastic depth and remat are for training alone.

    `attention_bias` is a tensor that all blocks share, `(heads, tokens, tokens)`.
    """
    tokens = inputs[0]

    def attend(tokens: str) -> str:
        return add_attention(
            graph, tokens, name=f"{name}/attention", num_heads=num_heads, qkv_bias=qkv_bias, qk_norm=qk_norm, norm=norm,
            inner_norm=attention_inner_norm, norm_epsilon=norm_epsilon, rotary=rotary, relative_position=relative_position,
            bias=attention_bias, differential_lambda=differential_lambda,
        )  # fmt: skip

    def feed_forward(tokens: str) -> str:
        return add_mlp(
            graph, tokens, name=f"{name}/mlp", activation=activation, gated=gated_mlp, mlp_dim=mlp_dim,
            inner_norm=mlp_inner_norm, norm=norm, norm_epsilon=norm_epsilon,
        )  # fmt: skip

    def normalize(tokens: str, part: str) -> str:
        return add_norm(graph, tokens, name=f"{name}/{part}", epsilon=norm_epsilon, norm=norm)

    def scale(branch: str, part: str) -> str:
        if layer_scale is None:
            return branch
        return graph.add("Mul", branch, graph.weight(f"{name}/{part}/gamma"), name=f"{name}/{part}")

    if parallel:
        normed = normalize(tokens, "norm")
        both = graph.add("Add", attend(normed), feed_forward(normed), name=f"{name}/branches")
        return graph.add("Add", tokens, scale(both, "scale"), name=name)
    if block_norm not in ("before", "after"):
        raise refuse(f"block_norm={block_norm!r}")
    for part, compute, result in (("attention", attend, f"{name}/attention_residual"), ("mlp", feed_forward, name)):
        if block_norm == "before":
            branch = scale(compute(normalize(tokens, f"{part}_norm")), f"{part}_scale")
        else:  # the scales are those of the norms
            branch = normalize(compute(tokens), f"{part}_norm")
        tokens = graph.add("Add", tokens, branch, name=result)
    return tokens


def add_attention(
    graph: Graph,
    tokens: str,
    *,
    name: str,
    num_heads: int,
    qkv_bias: str,
    qk_norm: bool,
    norm: str,
    inner_norm: bool,
    norm_epsilon: float,
    rotary: dict[str, Any] | None,
    relative_position: dict[str, Any] | None,
    bias: str | None,
    differential_lambda: float | None,
) -> str:
    """Adds `SelfAttention` or `DifferentialAttention`."""
    hidden_dim = graph.weights[f"{name}/qkv/kernel"].shape[0]
    head_dim = hidden_dim // num_heads
    qkv_numbers = None
    if qkv_bias == "query_value":
        query, value = (graph.weights[f"{name}/{part}"] for part in ("query_bias", "value_bias"))
        qkv_numbers = np.concatenate([query, np.zeros_like(query), value])
    elif qkv_bias not in ("all", "none"):
        raise refuse(f"qkv_bias={qkv_bias!r}")
    qkv = add_dense(graph, tokens, name=f"{name}/qkv", bias=qkv_numbers)
    # (batch, tokens, 3 * heads, head_dim), then (batch, 3 * heads, tokens, head_dim): one transposition for all three.
    qkv = graph.reshape(qkv, 0, 0, 3 * num_heads, head_dim, name=f"{name}/heads")
    qkv = graph.add("Transpose", qkv, name=f"{name}/heads_first", perm=[0, 2, 1, 3])
    parts = graph.split(qkv, ["queries", "keys", "values"], axis=1, size=num_heads, name=f"{name}/split")
    queries, keys, values = parts
    if qk_norm:
        queries = add_norm(graph, queries, name=f"{name}/query_norm", epsilon=norm_epsilon, norm=norm)
        keys = add_norm(graph, keys, name=f"{name}/key_norm", epsilon=norm_epsilon, norm=norm)
    if rotary is not None:
        queries, keys = (
            add_rotary(
                graph, heads, name=f"{name}/rotary", of=of, num_heads=num_heads, head_dim=head_dim, rotary=rotary
            )
            for heads, of in ((queries, "queries"), (keys, "keys"))
        )
    if relative_position is not None:
        own = add_relative_position(graph, name=f"{name}/relative_position", num_heads=num_heads, **relative_position)
        bias = own if bias is None else graph.add("Add", own, bias, name=f"{name}/both_biases")
    if differential_lambda is not None:
        attended = _add_difference(
            graph, queries, keys, values, name=name, head_dim=head_dim, bias=bias, lambda_init=differential_lambda
        )
        graph.attention = ""
    else:
        weights = _add_weights(graph, queries, keys, name=name, head_dim=head_dim, bias=bias)
        attended = graph.add("MatMul", weights, values, name=f"{name}/attended")
        graph.attention = weights
    joined = graph.add("Transpose", attended, name=f"{name}/tokens_first", perm=[0, 2, 1, 3])
    joined = graph.reshape(joined, 0, 0, hidden_dim, name=f"{name}/joined")
    if inner_norm:
        joined = add_norm(graph, joined, name=f"{name}/inner_norm", epsilon=norm_epsilon, norm=norm)
    return add_dense(graph, joined, name=f"{name}/output")


def _add_weights(
    graph: Graph, queries: str, keys: str, *, name: str, head_dim: int, bias: str | None = None, part: str = ""
) -> str:
    """Returns attention weights `(batch, heads, queries, keys)` of queries and keys `(batch, heads, tokens, head_dim)`."""
    scaled = graph.add("Mul", queries, graph.number(head_dim**-0.5), name=f"{name}/scaled_queries{part}")
    turned = graph.add("Transpose", keys, name=f"{name}/turned_keys{part}", perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", scaled, turned, name=f"{name}/scores{part}")
    if bias is not None:
        scores = graph.add("Add", scores, bias, name=f"{name}/biased_scores{part}")
    return graph.add("Softmax", scores, name=f"{name}/weights{part}", axis=-1)


def _add_difference(
    graph: Graph,
    queries: str,
    keys: str,
    values: str,
    *,
    name: str,
    head_dim: int,
    bias: str | None,
    lambda_init: float,
) -> str:
    """Returns the heads of differential attention, `(batch, heads, tokens, head_dim)`."""
    half = head_dim // 2
    halves = [
        graph.split(each, ["first", "second"], axis=-1, size=half, name=f"{name}/{of}_halves")
        for each, of in ((queries, "query"), (keys, "key"))
    ]
    first, second = (
        _add_weights(graph, query, key, name=name, head_dim=half, bias=bias, part=f"_{index}")
        for index, (query, key) in enumerate(zip(*halves, strict=True), start=1)
    )
    products = [
        np.sum(graph.weights[f"{name}/lambda_query_{index}"] * graph.weights[f"{name}/lambda_key_{index}"])
        for index in (1, 2)
    ]
    factor = graph.number(float(np.exp(products[0]) - np.exp(products[1]) + lambda_init))
    difference = graph.add(
        "Sub", first, graph.add("Mul", second, factor, name=f"{name}/scaled_weights_2"), name=f"{name}/difference"
    )
    attended = graph.add("MatMul", difference, values, name=f"{name}/attended")
    normed = add_norm(graph, attended, name=f"{name}/head_norm", epsilon=DIFFERENTIAL_EPSILON, norm="rms")
    return graph.add("Mul", normed, graph.number(1 - lambda_init), name=f"{name}/scaled_heads")


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
    norm: str = "layer",
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
        inside = add_norm(graph, inside, name=f"{name}/inner_norm", epsilon=norm_epsilon, norm=norm)
    return add_dense(graph, inside, name=f"{name}/contract")


def add_attention_pooling(
    graph: Graph,
    name: str,
    inputs: Sequence[str],
    *,
    num_heads: int,
    mlp_dim: int,
    activation: str,
    norm: str,
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
    query = probe.reshape(hidden_dim).astype("float64") @ kernel + bias
    queries = graph.constant(f"{name}/query", query.reshape(1, num_heads, 1, head_dim).astype("float32"))
    both = add_dense(graph, tokens, name=f"{name}/key_value")
    both = graph.reshape(both, 0, 0, 2 * num_heads, head_dim, name=f"{name}/heads")
    both = graph.add("Transpose", both, name=f"{name}/heads_first", perm=[0, 2, 1, 3])
    keys, values = graph.split(both, ["keys", "values"], axis=1, size=num_heads, name=f"{name}/split")
    weights = _add_weights(graph, queries, keys, name=name, head_dim=head_dim)
    attended = graph.add("MatMul", weights, values, name=f"{name}/attended")  # (batch, heads, 1, head_dim)
    attended = graph.reshape(attended, 0, hidden_dim, name=f"{name}/joined")
    attended = add_dense(graph, attended, name=f"{name}/output")
    normed = add_norm(graph, attended, name=f"{name}/mlp_norm", epsilon=norm_epsilon, norm=norm)
    fed = add_mlp(graph, normed, name=f"{name}/mlp", activation=activation, mlp_dim=mlp_dim, norm_epsilon=norm_epsilon)
    return graph.add("Add", attended, fed, name=name)
