"""A scan over the blocks' stacked weights compared with compiling all blocks, on JAX: compilation and step time.

    python benchmarks/scan.py [--presets vit_base_patch16_224 vit_large_patch16_224] [--batch-size 2] [--rounds 5] [--quick]

A loss and its gradients, float32. Keras has one variable per block and weight, so the scan stacks them in every step and the gradients are
split again; `stacking_left_out` scans over weights stacked before, which no Keras optimizer could update. Ratios are relative to compiling
all blocks; above 1 the scan is faster.
"""

import argparse
import os
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import harness
import jax
import jax.numpy as jnp
import keras
import numpy as np

import vit_keras as vk
from vit_keras.layers import TransformerBlock

Weights = list[Any]


def functions_of(model: keras.Model) -> tuple[dict[str, Any], tuple[Weights, list[Weights], Weights]]:
    """Returns functions from the weights before, in and after the blocks to logits, one per variant, and those weights."""
    blocks = [layer for layer in model.layers if isinstance(layer, TransformerBlock)]
    before, after = keras.Model(model.input, blocks[0].input), keras.Model(blocks[-1].output, model.output)
    weights = tuple([variable.value for variable in part.trainable_variables] for part in (before, after))
    inside = [[variable.value for variable in block.trainable_variables] for block in blocks]

    def call(layer: Any, given: Weights, values: Any) -> Any:
        others = [variable.value for variable in layer.non_trainable_variables]
        return layer.stateless_call(given, others, values, training=True)[0]

    def compiled(first: Weights, blocks_weights: list[Weights], last: Weights, images: Any) -> Any:
        tokens = call(before, first, images)
        for block, given in zip(blocks, blocks_weights, strict=True):
            tokens = call(block, given, tokens)
        return call(after, last, tokens)

    def on_stacked(first: Weights, stacked: Weights, last: Weights, images: Any) -> Any:
        tokens = call(before, first, images)
        tokens, _ = jax.lax.scan(lambda tokens, given: (call(blocks[0], given, tokens), None), tokens, stacked)
        return call(after, last, tokens)

    def scanned(first: Weights, blocks_weights: list[Weights], last: Weights, images: Any) -> Any:
        return on_stacked(first, [jnp.stack(parts) for parts in zip(*blocks_weights, strict=True)], last, images)

    ways = {"compiled": compiled, "scanned": scanned, "stacking_left_out": on_stacked}
    return ways, (weights[0], inside, weights[1])


def measured(preset: str, batch_size: int, rounds: int, **changes: int) -> dict[str, Any]:
    """Returns the seconds of compilation and of a step; `changes` are of the config."""
    model = vk.from_preset(preset, num_classes=10, stochastic_depth_rate=0.0, **changes)
    ways, (first, inside, last) = functions_of(model)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (batch_size, *model.input_shape[1:])), "float32")
    steps, compiling, results = {}, {}, {}
    for name, logits in ways.items():
        given = [jnp.stack(parts) for parts in zip(*inside, strict=True)] if name == "stacking_left_out" else inside

        def loss(weights: Any, logits: Any = logits) -> Any:
            return jnp.mean(jnp.square(logits(*weights, images) - 1.0))

        began = time.perf_counter()
        program = jax.jit(jax.value_and_grad(loss)).lower((first, given, last)).compile()
        compiling[name] = time.perf_counter() - began
        results[name] = float(program((first, given, last))[0])
        steps[name] = lambda program=program, given=given: jax.block_until_ready(program((first, given, last)))
    np.testing.assert_allclose(list(results.values()), results["compiled"], rtol=1e-4)
    seconds = harness.interleaved(steps, rounds=rounds, warmup=1)
    others = [name for name in ways if name != "compiled"]
    return {
        "preset": preset,
        "num_layers": len(inside),
        "batch_size": batch_size,
        "seconds_to_compile": compiling,
        "compiles_faster": {name: compiling["compiled"] / compiling[name] for name in others},
        "seconds_a_step": {name: harness.spread(values) for name, values in seconds.items()},
        "steps_faster": {
            name: harness.spread([slow / fast for slow, fast in zip(seconds["compiled"], seconds[name], strict=True)])
            for name in others
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="*", default=["vit_base_patch16_224", "vit_large_patch16_224"])
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of two small blocks")
    options = parser.parse_args()
    presets, rounds = (["vit_pico_patch4_28"], 1) if options.quick else (options.presets, options.rounds)
    rows, changes = [], {"num_layers": 2} if options.quick else {}
    for preset in presets:
        rows.append(measured(preset, options.batch_size, rounds, **changes))
        print(rows[-1], flush=True)
        keras.utils.clear_session()
    harness.record("scan", {"load_before": harness.load(), "cells": rows}, quick=options.quick)
