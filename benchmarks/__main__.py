"""Runs all benchmarks, or the named ones, one after another.

    python -m benchmarks [NAME ...] [--quick] [--json] [--list]

Each writes its JSON to `results/`. `--quick` only shows that they run: it uses small sizes, writes nothing, and skips benchmarks that
need a download. `--json` prints one JSON object with the seconds and the exit code of each.
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
    "mae_speed": ["--quick"],
    "gpu": ["--quick"],
    "memory": ["--quick"],
    "scaling": ["--quick"],
    "cold_start": ["--quick"],
    "command_start": ["--quick"],
    "attention_forms": ["--quick"],
    "fused": ["--quick"],
    "scan": ["--quick"],
    "devices": ["--quick"],
    "manifest": ["--quick"],
    "data_loading": ["--images", "150", "--rounds", "1", "--epochs", "1", "--loaders", "vit_keras,keras"],
    "data_check": ["--count", "300"],
    "loading": SMALL,
    "predict": ["--images", "64", "--rounds", "1"],
    "serving": ["--requests", "100", "--clients", "10"],
    "import_time": ["--rounds", "1"],
    "export": ["--quick"],
    "first_prediction": ["--rounds", "1", "--images", "64"],
    "emoji": ["--seeds", "1", "--limit", "128", "--epochs", "1"],
    "fashion_mnist": "Fashion-MNIST",
    "finetune": "Fashion-MNIST",
    "pretraining": "Fashion-MNIST",
    "adapters": SMALL,
    "embedded_weights": ["--quick"],
    "resume": ["--kills", "1", "--backend", "tensorflow"],
    "tuning_table": "Fashion-MNIST",
    "tuning_simulation": ["--searches", "5"],
    "tuning_live": ["--minutes", "0.5", "--epochs", "2"],
}
"""The arguments of a small run, or the data set without which there is none."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(QUICK)}")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="print each name and what it measures")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in QUICK]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(QUICK)}")
    names = options.names or list(QUICK)
    if options.list:
        for name in names:
            print(f"{name:18} {(FOLDER / f'{name}.py').read_text('utf-8').splitlines()[0].strip(chr(34))}")
        return 0
    outcomes: dict[str, dict[str, object]] = {}
    for name in names:
        extra = QUICK[name] if options.quick else []
        if isinstance(extra, str):
            outcomes[name] = {"skipped": f"it needs {extra}, of which there is no small version"}
            continue
        start = time.perf_counter()
        command = [sys.executable, str(FOLDER / f"{name}.py"), *extra]
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | ({"BENCHMARK_RESULTS": folder} if options.quick else {})
            done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL if options.json else None)
        outcomes[name] = {"seconds": round(time.perf_counter() - start, 1), "code": done.returncode}
    print(json.dumps(outcomes) if options.json else "\n".join(f"{name}: {row}" for name, row in outcomes.items()))
    return max((int(str(row.get("code", 0))) for row in outcomes.values()), default=0)


if __name__ == "__main__":
    raise SystemExit(main())
