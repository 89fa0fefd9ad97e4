"""The fastest form of attention and of GELU on the backend of `KERAS_BACKEND`.

    KERAS_BACKEND=tensorflow python benchmarks/attention_forms.py [--rounds 10] [--processor-time] [--quick]

The attention between its projections, and the activation, in the shapes of S/16 with batch 16 and of the demo's model with batch 64, in
turns: in training with the gradient, and in inference without. `SelfAttention` uses the fastest form of each backend. `--processor-time` counts the time of all
threads, for a machine that is busy with other work.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait must not spin

import harness
import keras
import numpy as np
from keras import ops

from vit_keras.layers.kernels.attention_kernel import FUSED, AttentionKernel, attend_by_products

SHAPES = {"S/16": (16, 197, 6, 64, 1536), "demo": (64, 16, 4, 32, 256)}  # batch, tokens, heads, head_dim, mlp_dim


def einsums(qkv: Any) -> Any:
    queries, keys, values = (qkv[:, :, index] for index in range(3))
    scores = ops.einsum("bqhd,bkhd->bhqk", queries * qkv.shape[-1] ** -0.5, keys)
    weights = ops.cast(ops.softmax(ops.cast(scores, "float32")), scores.dtype)
    return ops.einsum("bhqk,bkhd->bqhd", weights, values)


FORMS = {
    "attention": {
        "ops.dot_product_attention": AttentionKernel(name=FUSED).attend,
        "batched products": attend_by_products,
        "einsums": einsums,
    },
    "gelu": {
        "exact": lambda rows: keras.activations.gelu(rows, approximate=False),
        "tanh": lambda rows: keras.activations.gelu(rows, approximate=True),
    },
}


def forward_and_gradient(function: Callable[[Any], Any], inputs: Any) -> Callable[[], object]:
    """Returns a compiled call that computes both and waits for them."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def step() -> Any:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                output = function(inputs)
                total = tf.reduce_sum(tf.cast(output, tf.float32) ** 2)
            return tf.reduce_sum(tf.cast(tape.gradient(total, inputs), tf.float32))

        return lambda: step().numpy()
    if backend == "jax":
        import jax
        import jax.numpy as jnp

        gradient = jax.jit(jax.grad(lambda value: jnp.sum(function(value).astype("float32") ** 2)))
        return lambda: gradient(inputs).block_until_ready()

    def torch_step() -> object:
        leaf = inputs.detach().requires_grad_()
        (function(leaf).float() ** 2).sum().backward()
        return leaf.grad

    return torch_step


def forward(function: Callable[[Any], Any], inputs: Any) -> Callable[[], object]:
    """Returns a compiled call that computes the outputs alone and waits for them."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(function)
        return lambda: compiled(inputs).numpy()
    if backend == "jax":
        import jax

        program = jax.jit(function)
        return lambda: program(inputs).block_until_ready()

    def torch_forward() -> object:
        import torch

        with torch.no_grad():
            return function(inputs)

    return torch_forward


STEPS = {"training": forward_and_gradient, "inference": forward}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="one round of the demo's shapes, only to show that it runs"
    )
    options = parser.parse_args()
    shapes, rounds = ({"demo": SHAPES["demo"]}, 1) if options.quick else (SHAPES, options.rounds)
    load = harness.load()
    clock = time.process_time if options.processor_time else time.perf_counter
    result: dict[str, Any] = {}
    for size, (batch, tokens, heads, head_dim, mlp_dim) in shapes.items():
        for dtype in ("float32", "bfloat16"):
            rng = np.random.default_rng(0)
            inputs = {
                "attention": rng.normal(size=(batch, tokens, 3, heads, head_dim)),
                "gelu": rng.normal(size=(batch * tokens, mlp_dim)),
            }
            for (part, forms), (kind, make) in itertools.product(FORMS.items(), STEPS.items()):
                given = ops.cast(ops.convert_to_tensor(inputs[part].astype("float32")), dtype)
                steps = {name: make(form, given) for name, form in forms.items()}
                seconds = harness.interleaved(steps, rounds=rounds, clock=clock)
                milliseconds = {
                    name: harness.spread([1e3 * value for value in times]) for name, times in seconds.items()
                }
                fastest = min(milliseconds, key=lambda name: milliseconds[name]["median"])
                result[f"{part}, {size}, {dtype}, {kind}"] = {"fastest": fastest, "milliseconds": milliseconds}
    harness.record(
        f"attention_forms_{keras.backend.backend()}",
        {"processor_time": options.processor_time, "load": load, "results": result},
        quick=options.quick,
    )
