"""Images per second of ViT S/16 and B/16 compared with timm, transformers, KerasHub and vit-keras, and the fraction of the roofline.

    python benchmarks/speed.py [--peers PYTHON ...] [--presets ...] [--kinds training inference] [--dtypes float32 bfloat16]
                               [--batch-size 16] [--num-layers 12] [--rounds 5] [--backend tensorflow] [--keep-settings] [--quick]

Each library runs in its own process (`speed_side.py`), in this Python or the first of `--peers` that has it; missing libraries are listed.
First, the settings of a library (XLA on or off, eager or compiled) take five steps in turns on the first preset, and the fastest represents
the library for that kind and dtype. Then the libraries take turns, so that changes in load affect all. On further presets only the `--sides`
fastest take part, to fit in memory. Results of earlier runs are kept until they are measured again; `--keep-settings` keeps their
settings as well. With `--backend jax` or `torch`, this package and KerasHub run on that backend, and the result is `speed_BACKEND.json`.

`share_of_matmul_rate` is the rate of the model's multiply-adds (training: three forward passes) relative to a 2,048 x 2,048 matrix product of
the same dtype, measured before and after in this run. No library can exceed 1.0.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import harness
import numpy as np
import speed_side

from vit_keras.presets import load_preset

FIRST = next(iter(speed_side.SHAPES))
ROOT = Path(__file__).parents[1]
TRIAL_STEPS = 5
Name = TypeVar("Name")


class Side:
    """A library in its own process.

    Args:
        python: What runs it.
        arguments: Those of the script, the library first.
        script: Name of the file beside this one.
    """

    def __init__(self, python: str, arguments: Sequence[object], script: str = "speed_side.py") -> None:
        paths = [str(ROOT)] if arguments[0] == "vit_keras_zoo" else []  # the peer vit-keras has the same import name
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name(script)), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        self.facts = self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": "it died: was memory short?"}
        return answer

    def step(self) -> float | None:
        """Returns the seconds of a step; None if the process died, as `facts` then says."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
        answer = self._answer()
        self.facts |= answer
        return answer.get("seconds")

    def stop(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(60)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def python_with(library: str, pythons: Sequence[str]) -> str | None:
    """Returns the first Python that has a library."""
    module = (
        "vit_keras.vit" if library == "vit-keras" else library.replace("vit_keras_zoo", "vit_keras.zoo.from_preset")
    )
    for python in pythons:
        found = subprocess.run(
            [python, "-c", f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"],
            stderr=subprocess.DEVNULL, cwd="/", env=os.environ | {"PYTHONPATH": str(ROOT) if "zoo" in library else ""},
        )  # fmt: skip
        if not found.returncode:
            return python
    return None


def take_turns(sides: dict[Name, Side], rounds: int) -> dict[Name, list[float]]:
    """Returns the seconds of the steps that sides take in turns, after one that does not count; without sides that failed or died."""
    seconds = {name: list[float]() for name, side in sides.items() if "failed" not in side.facts}
    for turn in range(rounds + 1):
        for name, times in list(seconds.items()):
            taken = sides[name].step()
            if taken is None:
                del seconds[name]
            elif turn:
                times.append(taken)
    return seconds


def list_rates(
    seconds: dict[str, list[float]], settings: dict[str, str], sides: dict[str, Side], batch_size: int
) -> dict[str, dict[str, Any]]:
    """Returns setting, version and images per second of each library, and how much faster this package was in the same turns."""
    rows: dict[str, dict[str, Any]] = {}
    for library, times in seconds.items():
        rates = harness.spread([batch_size / value for value in times])
        rows[library] = {
            "setting": settings[library],
            "version": sides[library].facts["version"],
            "images_per_second": rates,
        }
        if library != "vit_keras_zoo":
            ratios = [theirs / our for theirs, our in zip(times, seconds["vit_keras_zoo"], strict=True)]
            rows[library]["ours_is_faster"] = harness.spread(ratios)
    return rows


def list_unsteady(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the libraries whose rounds differ by more than a quarter."""
    return [library for library, row in rows.items() if harness.is_unsteady(row["images_per_second"])]


def best_settings(
    pythons: dict[str, str], preset: str, kind: str, dtype: str, size: tuple[int, int], most: int | None
) -> dict[str, dict[str, Any]]:
    """Returns each library's fastest setting, of the first `most` or of all, over steps that the settings take in turns."""
    best = {}
    for library, python in pythons.items():
        with contextlib.ExitStack() as stack:
            sides = {
                setting: stack.enter_context(Side(python, (library, setting, preset, kind, dtype, *size)))
                for setting in speed_side.list_settings(library, os.environ["KERAS_BACKEND"])[:most]
            }
            seconds = take_turns(sides, TRIAL_STEPS)
        best[library] = chosen(
            {
                setting: float(np.median(seconds[setting])) if setting in seconds else side.facts["failed"]
                for setting, side in sides.items()
            }
        )
        print(preset, kind, dtype, library, best[library], flush=True)
    return best


def chosen(tried: dict[str, float | str]) -> dict[str, Any]:
    """Returns the fastest setting that ran."""
    seconds = {setting: value for setting, value in tried.items() if not isinstance(value, str)}
    return {"tried": tried, "setting": min(seconds, key=seconds.__getitem__) if seconds else None}


def in_turns(
    pythons: dict[str, str], best: dict[str, dict[str, Any]], preset: str, kind: str, dtype: str, size: tuple[int, int], rounds: int
) -> dict[str, Any]:  # fmt: skip
    """Returns images per second of every library, in turns."""
    matrix = 2048 if rounds > 1 else 256
    before, load = harness.matmul_rate(dtype, matrix), harness.load()
    sides = {
        library: Side(pythons[library], (library, found["setting"], preset, kind, dtype, *size))
        for library, found in best.items()
        if found["setting"]
    }
    seconds = take_turns(sides, rounds)
    for side in sides.values():
        side.stop()
    failed = {library: side.facts["failed"] for library, side in sides.items() if "failed" in side.facts}
    peak = max(before, harness.matmul_rate(dtype, matrix))
    macs = load_preset(preset).config.replace(num_layers=size[1]).num_macs
    work = 2 * macs * (3 if kind == "training" else 1)
    rows = list_rates(seconds, {library: found["setting"] for library, found in best.items()}, sides, size[0])
    for row in rows.values():
        row["share_of_matmul_rate"] = row["images_per_second"]["median"] * work / 1e9 / peak
    return {
        "matmul_gflops": peak,
        "failed": failed,
        "load_before": load,
        "unreliable": list_unsteady(rows),
        "libraries": rows,
    }


def fastest(best: dict[str, dict[str, Any]], first: dict[str, Any], count: int) -> dict[str, dict[str, Any]]:
    """Returns ours and the fastest peers on the first preset, since all at once might not fit in memory."""
    rows = {library: row for library, row in first["libraries"].items() if library in best}
    rates = {library: row["images_per_second"]["median"] for library, row in rows.items()}
    ranked = sorted(rates, key=lambda library: (library == "vit_keras_zoo", rates[library]), reverse=True)
    return {library: best[library] for library in ranked[:count]}


def _result_name() -> str:
    backend = os.environ["KERAS_BACKEND"]
    return "speed" if backend == "tensorflow" else f"speed_{backend}"


def measured_before(size: tuple[int, int]) -> dict[str, Any]:
    """Returns earlier results with the same batch size and depth."""
    found = harness.read_earlier(_result_name())
    same = (found.get("batch_size"), found.get("num_layers")) == size
    cells: dict[str, Any] = found["results"] if same else {}
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], help="Python interpreters with the peers")
    parser.add_argument("--presets", nargs="*", default=list(speed_side.SHAPES), choices=speed_side.SHAPES)
    parser.add_argument("--kinds", nargs="*", default=["inference", "training"], choices=["inference", "training"])
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--libraries", nargs="*", default=list(speed_side.LIBRARIES), choices=speed_side.LIBRARIES)
    parser.add_argument("--backend", default="tensorflow", choices=["tensorflow", "jax", "torch"])
    parser.add_argument("--sides", type=int, default=3, help="libraries at once on further presets")
    parser.add_argument("--keep-settings", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="one layer, batches of 2, one round, only to show that it runs"
    )
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = options.backend
    size = (2, 1) if options.quick else (options.batch_size, options.num_layers)
    found = {library: python_with(library, [sys.executable, *options.peers]) for library in options.libraries}
    pythons = {library: python for library, python in found.items() if python}
    results: dict[str, Any] = {} if options.quick else measured_before(size)
    missing = [library for library, python in found.items() if not python]
    for dtype in options.dtypes:
        for kind in options.kinds:
            first = f"{FIRST}, {kind}, {dtype}"
            before = results.get(first, {}) if options.keep_settings else {}
            tried = {name: row for name, row in before.get("settings_tried", {}).items() if name in pythons}
            best = {name: chosen(row) for name, row in tried.items()} or best_settings(
                pythons, options.presets[0], kind, dtype, size, 1 if options.quick else None
            )
            for preset in options.presets:
                sides = fastest(best, results[first], options.sides) if preset != FIRST and first in results else best
                cell = in_turns(pythons, sides, preset, kind, dtype, size, 1 if options.quick else options.rounds)
                cell["settings_tried"] = {library: row["tried"] for library, row in best.items()}
                results[f"{preset}, {kind}, {dtype}"] = cell
                shape = {"batch_size": size[0], "num_layers": size[1], "not_installed": missing}
                harness.record(
                    _result_name(), shape | {"results": results}, quick=options.quick
                )  # finished results are kept


if __name__ == "__main__":
    main()
