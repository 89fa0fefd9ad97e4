"""Peak memory of training ViT S/16 and B/16 compared with timm and KerasHub, and the longest sequence within a limit.

    python benchmarks/memory.py [--peers PYTHON ...] [--presets ...] [--dtypes float32 bfloat16] [--backends tensorflow torch]
                                [--batch-size 16] [--sides 224 ...] [--limit-gb 20] [--quick]

Each point is a new process that takes two training steps of `speed_side.py` (AdamW, 1,000 classes) with pixels in memory; its peak is
the process's highest resident memory less that after the imports. Each library runs with each of its settings (XLA, compiled), with and
without recomputation (`remat="block"`, timm's `set_grad_checkpointing`, Keras' `RematScope("full")`), this package on each of
`--backends`, KerasHub on TensorFlow. `of_best_peer` is ours relative to the least of the peers' settings: 1.0 is the goal.

The longest sequence is that of one image of S/16: a curve `a + b tokens + c tokens^2` through the peaks of `--long-sides` is extended to
the limit. Linux only.
"""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import harness
import numpy as np
import speed_side

IMPORTS = {
    "vit_keras_zoo": ("keras", "vit_keras.zoo.from_preset"),
    "keras_hub": ("keras", "keras_hub.models"),
    "timm": ("torch", "timm"),
}
PEERS = ("keras_hub", "timm")
LONG_PRESET = "vit_small_patch16_224"
GIGABYTE = 1e9
_ROOT = Path(__file__).parents[1]
_STEPS = 2


def point(
    library: str, setting: str, preset: str, dtype: str, batch_size: int, num_layers: int, side: int, recomputes: bool
) -> int:
    """Returns the growth of this process's peak memory over that after the imports, in bytes."""
    for module in IMPORTS[library]:
        importlib.import_module(module)
    speed_side.choose_threads(setting)
    before = harness.memory("VmRSS")
    build = speed_side.LIBRARIES[library]
    step = build(preset, "training", dtype, batch_size, num_layers, setting, side=side, recomputes=recomputes)
    for _ in range(_STEPS):
        step()
    return harness.memory("VmHWM") - before


def measure(python: str, backend: str, library: str, *arguments: object) -> float | str:
    """Returns the peak of a point in a new process in GB; the reason if it failed."""
    paths = [str(_ROOT)] if library == "vit_keras_zoo" else []
    command = [python, __file__, "--point", library, *map(str, arguments)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message: was memory short?"]
        return f"exit code {done.returncode}: {lines[-1][:200]}"
    return float(done.stdout.splitlines()[-1]) / GIGABYTE


def longest_sequence(points: dict[int, float], limit: float) -> dict[str, float]:
    """Returns the tokens of the largest image whose peak is within the limit, by a curve through the peaks at three sides in px."""
    sides = sorted(points)
    tokens = np.array([(side // 16) ** 2 + 1 for side in sides], dtype="float64")
    peaks = np.array([points[side] for side in sides])
    quadratic, linear, constant = np.polyfit(tokens, peaks, len(sides) - 1)[-3:]
    rows = 1
    while quadratic * ((rows + 1) ** 2 + 1) ** 2 + linear * ((rows + 1) ** 2 + 1) + constant <= limit and rows < 512:
        rows += 1
    return {"side": 16 * rows, "tokens": rows**2 + 1}


def compare(peaks: dict[str, dict[str, float | str]]) -> dict[str, float]:
    """Returns the least peak of each of our sides relative to the least of the peers, with and without recomputation."""
    found = {}
    for recomputed, settings in peaks.items():
        numbers = {name: value for name, value in settings.items() if not isinstance(value, str)}
        theirs = [value for name, value in numbers.items() if name.startswith(PEERS)]
        for name, value in numbers.items():
            if theirs and not name.startswith(PEERS):
                found[f"{name}, {recomputed}"] = value / min(theirs)
    return found


def list_sides(pythons: dict[str, str], backends: list[str]) -> dict[str, tuple[str, str, str, str]]:
    """Returns Python, backend, library and setting of each side by its name."""
    sides = {}
    for library, python in pythons.items():
        for backend in backends if library == "vit_keras_zoo" else ["tensorflow"]:
            for setting in speed_side.list_settings(library, backend):
                if library != "vit_keras_zoo" or setting != "XLA on" or backend == "jax":
                    # Ours without XLA, as `compile` chooses on a CPU.
                    name = f"{library}, {setting}" if library == "timm" else f"{library} on {backend}, {setting}"
                    sides[name] = (python, backend, library, setting)
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], help="Python interpreters with the peers")
    parser.add_argument("--presets", nargs="*", default=list(speed_side.SHAPES), choices=speed_side.SHAPES)
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument(
        "--backends", nargs="*", default=["tensorflow", "torch"], choices=["tensorflow", "jax", "torch"]
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--long-sides", nargs="*", type=int, default=[256, 512, 768], help="px; empty to leave it out")
    parser.add_argument("--limit-gb", type=float, default=20.0)
    parser.add_argument("--quick", action="store_true", help="one layer, a batch of 2, only to show that it runs")
    parser.add_argument("--point", nargs=8, metavar="ARGUMENT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        library, setting, preset, dtype, *sizes = options.point
        answers, sys.stdout = sys.stdout, sys.stderr  # libraries print to stdout, where only the answer may go
        peak = point(library, setting, preset, dtype, *map(int, sizes[:3]), bool(int(sizes[3])))
        print(peak, file=answers)
        return
    from speed import python_with

    batch_size, num_layers = (2, 1) if options.quick else (options.batch_size, 12)
    presets = options.presets[:1] if options.quick else options.presets
    dtypes = options.dtypes[:1] if options.quick else options.dtypes
    long_sides = [] if options.quick else options.long_sides
    found = {library: python_with(library, [sys.executable, *options.peers]) for library in ("vit_keras_zoo", *PEERS)}
    sides = list_sides({library: python for library, python in found.items() if python}, options.backends)
    if options.quick:
        sides = dict(list(sides.items())[:1])
    earlier = {} if options.quick else harness.read_earlier("memory")
    result: dict[str, Any] = {
        "not_installed": [library for library, python in found.items() if not python],
        "num_layers": num_layers,
        "limit_gb": options.limit_gb,
        "results": earlier.get("results", {}),
        "longest": earlier.get("longest", {}),
    }

    def run(name: str, preset: str, dtype: str, count: int, side: int, recomputes: bool) -> float | str:
        python, backend, library, setting = sides[name]
        peak = measure(python, backend, library, setting, preset, dtype, count, num_layers, side, int(recomputes))
        print(preset, dtype, count, side, "remat" if recomputes else "", name, peak, file=sys.stderr, flush=True)
        return peak

    for preset in presets:
        for dtype in dtypes:
            peaks = {
                recomputed: {name: run(name, preset, dtype, batch_size, 224, recomputed == "remat") for name in sides}
                for recomputed in ("kept", "remat")
            }
            cell = {"batch_size": batch_size, "peak_gb": peaks, "of_best_peer": compare(peaks)}
            result["results"][f"{preset}, {dtype}"] = cell
            harness.record("memory", result, quick=options.quick)  # finished results are kept
    for recomputed in ("kept", "remat") if long_sides else ():
        for name in sides:
            points = {side: run(name, LONG_PRESET, "float32", 1, side, recomputed == "remat") for side in long_sides}
            numbers = {side: peak for side, peak in points.items() if not isinstance(peak, str)}
            row: dict[str, Any] = {"peak_gb": points}
            if len(numbers) == len(points):
                row["longest"] = longest_sequence(numbers, options.limit_gb)
            result["longest"][f"{name}, {recomputed}"] = row
            harness.record("memory", result)


if __name__ == "__main__":
    main()
