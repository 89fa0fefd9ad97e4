"""All GPU measurements in under ten minutes: JAX, mixed_bfloat16, no TensorFlow, no network.

    python benchmarks/gpu.py [--fashion-mnist FOLDER] [--seconds 560] [--quick]

Whether cuDNN's flash attention is in the compiled training step and buffers are donated; images per second and fraction of the peak of S, B, L
and H, training and inference, compared with compiled timm if it is installed; `fit` compared with a bare jitted loop; a small model with
Keras' own loop and with several steps per call; memory with and without recomputation; memory by tokens; the first trained batch with and
without a compilation cache; a preset trained on Fashion-MNIST. Each part runs in its own process (`gpu_parts.py`); parts that do not fit in
the time are listed. Without a GPU everything runs small, and the result says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

PARTS = Path(__file__).with_name("gpu_parts.py")
TINY, S, B, L, H = (
    "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224", "vit_huge_patch14_224",
)  # fmt: skip
SMALL = "vit_micro_conv4_28"
PLAN: tuple[tuple[str, ...], ...] = (
    ("device",),
    ("kernel", S),
    ("rates", S, "256"),
    ("rates", B, "256"),
    ("rates", L, "128"),
    ("rates", H, "64"),
    ("timm", S, "256"),
    ("timm", B, "256"),
    ("fit", B, "128", "1"),
    ("fit", SMALL, "64", "1"),
    ("fit", SMALL, "64", "64"),
    ("rates", L, "384"),
    ("rates", L, "384", "block"),
    ("tokens", "1024"),
    ("tokens", "4096"),
    ("cold", B),
    ("cold", B),
)
"""Ordered by importance, in case time runs out. The second cold start uses the cache of the first."""


def run(part: tuple[str, ...], cache: str, seconds: float) -> dict[str, Any]:
    """Returns the result of a part, or why there is none."""
    given = os.environ | {"KERAS_BACKEND": "jax"}
    if part[0] == "cold":
        given |= {"JAX_COMPILATION_CACHE_DIR": cache}
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, PARTS, *part], env=given, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"part": part, "failed": f"not done in {seconds:.0f} s"}
    took = time.perf_counter() - began
    if "No module named 'timm'" in done.stderr:
        return {"part": part, "left_out": "timm is not installed"}
    if done.returncode:
        return {"part": part, "failed": done.stderr.strip().splitlines()[-1][:300], "took": took}
    return {"part": part, "took": took, **json.loads(done.stdout.splitlines()[-1])}


def shares(found: list[dict[str, Any]]) -> None:
    """Adds to each rate its fraction of the peak."""
    peaks = {"of_matmul_rate": found[0].get("matmul_flops"), "model_flops_utilisation": found[0].get("shown_peak")}
    for row in found:
        for kind in ("inference", "training"):
            if "flops" in row.get(kind, {}):
                row[kind] |= {name: row[kind]["flops"] / peak for name, peak in peaks.items() if peak}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion-mnist", type=Path, help="folder with the four .gz files")
    parser.add_argument("--seconds", type=float, default=560, help="for all parts")
    parser.add_argument("--quick", action="store_true", help="the kernel, one rate and one fit")
    options = parser.parse_args()
    plan = [*PLAN, *([("fashion_mnist", str(options.fashion_mnist.absolute()))] if options.fashion_mnist else [])]
    if options.quick:
        plan = [("device",), ("kernel", TINY), ("rates", TINY, "2"), ("fit", SMALL, "2", "2")]
    started, found = time.perf_counter(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as cache:
        for part in plan:
            left = options.seconds - (time.perf_counter() - started)
            found.append(run(part, cache, left) if left > 5 else {"part": part, "failed": "no time was left"})
            print(json.dumps(found[-1]), flush=True)
    shares(found)
    kind = str(found[0].get("device", "unknown")).replace(" ", "_").lower()
    note = {} if found[0].get("on_gpu") else {"note": "no GPU: every part ran small, and its figures mean nothing"}
    harness.record(f"gpu_{kind}", {**note, "parts": found}, quick=bool(options.quick or note))
    raise SystemExit(any("failed" in row for row in found))
