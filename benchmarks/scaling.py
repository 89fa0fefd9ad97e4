"""Growth of time and memory with tokens, depth and batch size.

    KERAS_BACKEND=torch python benchmarks/scaling.py [--kinds inference training] [--num-layers 2] [--quick]

ViT-S blocks on patches of 16 px, float32. Each point is a new process, which builds the model, takes one step with 16 tokens to load
everything, then three of the point's size: the minimum time, and the growth of the peak resident memory (on JAX also what the compiled
program needs). `growth` is the exponent between the two largest points: 1 is linear, 2 quadratic. torch and, on a GPU, JAX compute attention
without a tokens x tokens matrix; TensorFlow stores one.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import harness

TOKENS = (196, 784, 1764, 4096)
DEPTHS = (3, 6, 12, 24)
BATCHES = (1, 4, 16, 64)
_KIB = 1024


def point(kind: str, tokens: int, num_layers: int, batch_size: int) -> dict[str, float]:
    """Returns the seconds of a step and of the first one with its compilation, and the growth of peak memory in bytes."""
    import keras
    import numpy as np

    import vit_keras as vk

    def step_of(count: int) -> Any:
        side = 16 * math.isqrt(count)
        model = vk.from_preset(
            "vit_small_patch16_224", num_classes=10, num_layers=num_layers, image_size=side, pooling="mean", class_token=False
        )  # fmt: skip
        model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        images = np.zeros((batch_size, side, side, 3), "uint8")
        labels = np.zeros(batch_size)
        return (lambda: model.predict_on_batch(images)) if kind == "inference" else (
            lambda: model.train_on_batch(images, labels)
        )  # fmt: skip

    step_of(16)()
    step = step_of(tokens)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(4):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    risen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": min(times[1:]), "first_seconds": times[0], "peak_bytes_risen": float(risen * _KIB)}


@cache  # the point that two curves share
def apart(*arguments: object) -> dict[str, float]:
    """Runs a point in a new process."""
    command = [sys.executable, __file__, "--point", *map(str, arguments)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def growth(points: dict[int, dict[str, float]], what: str) -> float | None:
    """Returns the exponent between the two largest points; None if the larger needs no more, such as reused memory."""
    low, high = list(points)[-2:]
    if not 0 < points[low][what] < points[high][what]:
        return None
    return math.log(points[high][what] / points[low][what]) / math.log(high / low)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", default=["inference", "training"], choices=["inference", "training"])
    parser.add_argument("--num-layers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two small points of one curve, only to show that it runs")
    parser.add_argument("--point", nargs=4, metavar="ARGUMENT", help="one point: kind, tokens, layers, batch size")
    options = parser.parse_args()
    if options.point:
        print(json.dumps(point(options.point[0], *map(int, options.point[1:]))))
        raise SystemExit
    layers = 1 if options.quick else options.num_layers
    tokens, depths, batches = ((16, 36), (), ()) if options.quick else (TOKENS, DEPTHS, BATCHES)
    result: dict[str, Any] = {}
    for kind in options.kinds[:1] if options.quick else options.kinds:
        found = {
            "tokens": {count: apart(kind, count, layers, 1) for count in tokens},
            "depth": {count: apart(kind, tokens[0], count, 1) for count in depths},
            "batch": {count: apart(kind, tokens[0], layers, count) for count in batches},
        }
        result[kind] = {
            name: {
                "points": points,
                "growth": {what: growth(points, what) for what in ("seconds", "first_seconds", "peak_bytes_risen")},
            }
            for name, points in found.items()
            if points
        }
        print(json.dumps(result[kind]), flush=True)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    harness.record(f"scaling_{Path(backend).name}", {"num_layers": layers, **result}, quick=options.quick)
