"""Seconds from process start to the first trained batch: imports, model, compilation and step; with and without a compilation cache.

    python benchmarks/cold_start.py [--preset vit_nano_conv8_32] [--batch-size 64] [--rounds 3] [--quick]

TensorFlow with Keras' default (no XLA on a CPU) and with XLA; torch; JAX without a cache, with an empty cache, and with the cache of the
previous run, as a second `vit-keras` command has it. Each runs in a new process, in turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import harness

WAYS = ("tensorflow", "tensorflow, XLA on", "torch", "jax", "jax, empty cache", "jax, kept programs")


def first_batch(preset: str, batch_size: int, xla: bool) -> dict[str, float]:
    """Returns the seconds of each part in this process."""
    start = time.perf_counter()
    import keras
    import numpy as np

    import vit_keras as vk

    imported = time.perf_counter()
    model = vk.from_preset(preset, num_classes=10)
    model.compile(
        vk.training.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True if xla else "auto",
    )  # fmt: skip
    images, labels = np.zeros((batch_size, *model.input_shape[1:]), "uint8"), np.zeros(batch_size)
    built = time.perf_counter()
    model.train_on_batch(images, labels)
    done = time.perf_counter()
    return {"import": imported - start, "build": built - imported, "first_batch": done - built, "all": done - start}


def run_in_new_process(way: str, options: argparse.Namespace, folder: str) -> dict[str, float]:
    """Runs `first_batch` in a new process."""
    backend = way.partition(",")[0]
    given = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    given.pop("JAX_COMPILATION_CACHE_DIR", None)
    if way.startswith("jax,"):
        given |= {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    command = [sys.executable, __file__, "--preset", options.preset, "--batch-size", str(options.batch_size), "--here"]
    done = subprocess.run([*command, str(int("XLA on" in way))], env=given, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_nano_conv8_32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round on TensorFlow only")
    parser.add_argument("--here", type=int, help="run in this process; 1 for XLA")
    options = parser.parse_args()
    if options.here is not None:
        print(json.dumps(first_batch(options.preset, options.batch_size, bool(options.here))))
        raise SystemExit
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in (WAYS[:1] if options.quick else WAYS)}
    for _ in range(1 if options.quick else options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for way, found in rounds.items():
                found.append(run_in_new_process(way, options, folder))
                print(way, found[-1], flush=True)
    take: Callable[[str, str], Any] = lambda way, part: harness.spread([found[part] for found in rounds[way]])  # noqa: E731
    result = {way: {part: take(way, part) for part in found[0]} for way, found in rounds.items()}
    harness.record(
        "cold_start",
        {"preset": options.preset, "batch_size": options.batch_size, "seconds": result},
        quick=options.quick,
    )
