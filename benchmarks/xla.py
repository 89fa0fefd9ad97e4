"""Whether XLA pays on this machine: steps of small and large models with it and without, float32 and bfloat16, in turns.

    KERAS_BACKEND=tensorflow python benchmarks/xla.py [--rounds 5] [--quick]

Keras leaves XLA off where TensorFlow sees a CPU alone; `compile(jit_compile=True)` asks for it. `on_is_faster` is the time without over the
time with it, round by round.
"""

import argparse
from collections.abc import Callable
from typing import Any

import harness
import keras

import vit_keras as vk

CELLS = (
    ("vit_nano_conv8_32", 32),
    ("vit_nano_conv8_32", 128),
    ("vit_micro_conv4_28", 64),
    ("vit_tiny_patch16_224", 16),
)
KINDS = ("training", "inference")


def steps_of(preset: str, batch_size: int, policy: str) -> dict[str, Callable[[], object]]:
    """Both kinds of step, on and off."""
    keras.config.set_dtype_policy(policy)
    steps: dict[str, Callable[[], object]] = {}
    for xla in (True, False):
        both = harness.keras_steps(vk.from_preset(preset, num_classes=10), batch_size, jit_compile=xla)
        steps |= {f"{kind} {'on' if xla else 'off'}": step for kind, step in both.items()}
    keras.config.set_dtype_policy("float32")
    return steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of the smallest")
    options = parser.parse_args()
    cells: list[dict[str, Any]] = []
    for policy in ("float32", "mixed_bfloat16"):
        for preset, batch_size in CELLS[:1] if options.quick else CELLS:
            seconds = harness.interleaved(
                steps_of(preset, batch_size, policy), rounds=1 if options.quick else options.rounds
            )
            row: dict[str, Any] = {"preset": preset, "batch_size": batch_size, "policy": policy}
            for kind in KINDS:
                pairs = zip(seconds[f"{kind} off"], seconds[f"{kind} on"], strict=True)
                row[kind] = {
                    "on": harness.spread(seconds[f"{kind} on"]),
                    "off": harness.spread(seconds[f"{kind} off"]),
                    "on_is_faster": harness.spread([off / on for off, on in pairs]),
                }
            cells.append(row)
            print(row, flush=True)
            keras.utils.clear_session()
    harness.record("xla", {"load_before": harness.load(), "cells": cells}, quick=options.quick)
