"""Training steps on TensorFlow with and without fused chains of small operations, in turns.

    python benchmarks/fused.py [--rounds 10] [--quick]

The activation in the MLP, the norms and the gradient of attention are fused (`vit_keras/layers/kernels/fused.py`). `fused_is_faster` is the time without fusing divided
by the time with it, per round; `first` is the time of the first step with its compilation.
"""

import argparse
import contextlib
import functools
import os
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

os.environ["KERAS_BACKEND"] = "tensorflow"

import harness
import keras

import vit_keras as vk

CELLS = (
    ("vit_nano_conv8_32", 128),
    ("vit_pico_patch4_28", 128),
    ("vit_small_patch16_224", 16),
)
FUSES = tuple(f"vit_keras.layers.{module}.fuses" for module in ("kernels.fused", "layer_norm", "mlp", "self_attention"))


def step_of(
    preset: str, batch_size: int, policy: str, *, fuses: bool, **changes: int
) -> tuple[Callable[[], object], float]:
    """Returns a training step, and the seconds of the first one; `changes` are of the config."""
    from vit_keras.layers.kernels.fused import fused

    keras.config.set_dtype_policy(policy)
    step = harness.keras_steps(vk.from_preset(preset, num_classes=10, **changes), batch_size)["training"]
    keras.config.set_dtype_policy("float32")
    fused.cache_clear()
    with contextlib.ExitStack() as patches:
        for name in FUSES:
            patches.enter_context(mock.patch(name, return_value=fuses))
        began = time.perf_counter()
        step()  # traces it
        return step, time.perf_counter() - began


def cell(preset: str, batch_size: int, policy: str, rounds: int, **changes: int) -> dict[str, Any]:
    """Times both in turns."""
    make = functools.partial(step_of, preset, batch_size, policy, **changes)
    (plain, plain_first), (ours, ours_first) = make(fuses=False), make(fuses=True)
    seconds = harness.interleaved({"plain": plain, "fused": ours}, rounds=rounds)
    ratios = [slow / fast for slow, fast in zip(seconds["plain"], seconds["fused"], strict=True)]
    return {
        "preset": preset,
        "batch_size": batch_size,
        "policy": policy,
        **{name: harness.spread(values) for name, values in seconds.items()},
        "first": {"plain": plain_first, "fused": ours_first},
        "fused_is_faster": harness.spread(ratios),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="one round of one block")
    options = parser.parse_args()
    cells = []
    rounds, changes = (1, {"num_layers": 1}) if options.quick else (options.rounds, {})
    for policy in ("float32", "mixed_bfloat16"):
        for preset, batch_size in (("vit_nano_patch4_32", 2),) if options.quick else CELLS:
            cells.append(cell(preset, batch_size, policy, rounds, **changes))
            print(cells[-1], flush=True)
            keras.utils.clear_session()
    harness.record("fused", {"load_before": harness.load(), "cells": cells}, quick=options.quick)
