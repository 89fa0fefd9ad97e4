"""All benchmarks, one after the other.

    python -m benchmarks [NAME ...] [--quick] [--json] [--list]

Each is a command of its own, which writes its JSON to `results/`. `--quick` runs them small, to show that they run, and writes
nothing; those that a data set has to be downloaded for are said. `--json` prints one JSON object with the seconds and the end of each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).parent
SMALL = ["--preset", "vit_nano_conv8_32", "--rounds", "1"]
QUICK: dict[str, list[str] | str] = {
    "speed": ["--quick", "--presets", "vit_small_patch16_224", "--dtypes", "float32", "--kinds", "training"],
    "small_models": ["--quick"],
    "gpu": ["--quick"],
    "scaling": ["--quick"],
    "cold_start": ["--quick"],
    "fit_overhead": [*SMALL, "--steps", "4"],
    "attention_forms": ["--rounds", "1"],
    "xla": ["--quick"],
    "fused": ["--quick"],
    "scan": ["--quick"],
    "padding": ["--quick"],
    "data_loading": ["--images", "150", "--rounds", "1", "--epochs", "1", "--loaders", "vit_keras,keras"],
    "data_check": ["--count", "300"],
    "loading": SMALL,
    "predict": ["--images", "64", "--rounds", "1"],
    "import_time": ["--rounds", "1"],
    "emoji": ["--seeds", "1", "--limit", "128", "--epochs", "1"],
    "fashion_mnist": "Fashion-MNIST",
    "finetune": "Fashion-MNIST",
    "linear_probe": "Fashion-MNIST",
    "adapters": SMALL,
    "checkpoint": ["--rounds", "1", "--arrays", "4"],
    "resume": ["--kills", "1", "--backend", "tensorflow"],
    "search_space": ["--samples", "100", "--checked", "1"],
    "tuning_table": "Fashion-MNIST",
    "tuning_simulation": ["--searches", "5"],
    "tuning_overhead": ["--trials", "3"],
    "tuning_live": ["--minutes", "0.5", "--epochs", "2"],
    "explain": SMALL,
}
"""What makes a small run of each, or the data set that it is about and that has to be there."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(QUICK)}")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="name them with what they measure, and stop")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in QUICK]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(QUICK)}")
    names = options.names or list(QUICK)
    if options.list:
        for name in names:
            print(f"{name:18} {(FOLDER / f'{name}.py').read_text('utf-8').splitlines()[0].strip(chr(34))}")
        return 0
    said: dict[str, dict[str, object]] = {}
    for name in names:
        extra = QUICK[name] if options.quick else []
        if isinstance(extra, str):
            said[name] = {"left_out": f"it is about {extra}, of which there is no small form"}
            continue
        began = time.perf_counter()
        command = [sys.executable, str(FOLDER / f"{name}.py"), *extra]
        with tempfile.TemporaryDirectory() as elsewhere:
            given = os.environ | ({"BENCHMARK_RESULTS": elsewhere} if options.quick else {})
            done = subprocess.run(command, env=given, stdout=subprocess.DEVNULL if options.json else None)
        said[name] = {"seconds": round(time.perf_counter() - began, 1), "code": done.returncode}
    print(json.dumps(said) if options.json else "\n".join(f"{name}: {row}" for name, row in said.items()))
    return max((int(str(row.get("code", 0))) for row in said.values()), default=0)


if __name__ == "__main__":
    raise SystemExit(main())
