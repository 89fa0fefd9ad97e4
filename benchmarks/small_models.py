"""Training steps of small models on a CPU compared with plain Keras layers and timm, and the fraction of a matrix product's rate.

    python benchmarks/small_models.py [--peers PYTHON ...] [--dtypes float32 bfloat16] [--batch-size 128] [--rounds 15] [--quick]

Models with 0.3 to 1 million parameters and 16 to 64 tokens. Each library runs in its own process (`small_models_side.py`), with
each of its settings, and all processes take turns; the fastest setting represents a peer. The plain model uses Keras' own layers as in
its guides: `Conv2D`, `MultiHeadAttention`, `Dense`. The fraction counts the model's multiply-adds three times (one forward and two
backward), relative to a 2,048 x 2,048 matrix product.
"""

import argparse
import contextlib
import sys
from typing import Any

import harness
import numpy as np
import speed_side
from small_models_side import SHAPES
from speed import Side, list_rates, list_unsteady, python_with, take_turns

import vit_keras as vk

SETTINGS = {
    "vit_keras_zoo": ("XLA off", speed_side.ONE_CORE),  # as `compile` and `vit-keras train` choose on a CPU
    "keras": ("XLA off", "XLA on", speed_side.ONE_CORE),
    "timm": ("eager", "compiled"),
}


def measure(preset: str, dtype: str, pythons: dict[str, str], batch_size: int, rounds: int) -> dict[str, Any]:
    """Returns the rates of all libraries, and ours relative to theirs and to the matrix product."""
    before = harness.matmul_rate(dtype)
    with contextlib.ExitStack() as stack:
        sides = {
            (library, setting): stack.enter_context(
                Side(python, (library, setting, preset, dtype, batch_size), "small_models_side.py")
            )
            for library, python in pythons.items()
            for setting in SETTINGS[library]
        }
        seconds = take_turns(sides, rounds)
    peak = max(before, harness.matmul_rate(dtype))
    fastest = {
        library: min((name for name in seconds if name[0] == library), key=lambda name: np.median(seconds[name]))
        for library in SETTINGS
        if any(name[0] == library for name in seconds)
    }
    times = {library: seconds[name] for library, name in fastest.items()}
    settings = {library: setting for library, (_, setting) in fastest.items()}
    rows = list_rates(times, settings, {library: sides[name] for library, name in fastest.items()}, batch_size)
    config = vk.load_preset(preset).config
    work = 3 * 2 * config.num_macs * batch_size
    return {
        "preset": preset,
        "dtype": dtype,
        "params": config.num_params,
        "tokens": config.num_tokens,
        "batch_size": batch_size,
        "matmul_gflops": peak,
        "share_of_matmul_rate": work / float(np.median(times["vit_keras_zoo"])) / 1e9 / peak,
        "libraries": rows,
        "failed": {", ".join(name): side.facts["failed"] for name, side in sides.items() if "failed" in side.facts},
        "unreliable": list_unsteady(rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], help="Python interpreters with the peers")
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one round of the smallest")
    options = parser.parse_args()
    found = {library: python_with(library, [sys.executable, *options.peers]) for library in SETTINGS}
    pythons = {library: python for library, python in found.items() if python}
    presets, rounds = (list(SHAPES)[:1], 1) if options.quick else (list(SHAPES), options.rounds)
    dtypes = options.dtypes[:1] if options.quick else options.dtypes
    earlier = harness.read_earlier("small_models").get("cells", [])
    load, cells = harness.load(), [cell for cell in earlier if cell["dtype"] not in dtypes]
    for dtype in dtypes:
        for preset in presets:
            cells.append(measure(preset, dtype, pythons, options.batch_size, rounds))
            print(cells[-1], flush=True)
    missing = [library for library, python in found.items() if not python]
    harness.record("small_models", {"load_before": load, "not_installed": missing, "cells": cells}, quick=options.quick)


if __name__ == "__main__":
    main()
