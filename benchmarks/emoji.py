"""Test accuracy of the demo on the unseen drawing style, the mean of several seeds.

    python benchmarks/emoji.py [--seeds 3] [--recipe from_scratch] [--limit 128] [--epochs 1]

Each seed is one `vit-keras train` in a new process; the time is that of the whole process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", help="default: the preset's, small_images")
    parser.add_argument("--limit", type=int, help="images per split; default: all")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    options = parser.parse_args()
    other = [
        f"--{name}={value}" for name in ("recipe", "limit", "epochs") if (value := getattr(options, name)) is not None
    ]
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            command = [str(Path(sys.executable).parent / "vit-keras"), "train", "--json", "--seed", str(seed)]
            printed = subprocess.run(
                [*command, *other, "--run-dir", f"{folder}/run"], check=True, stdout=subprocess.PIPE
            ).stdout
            whole = time.perf_counter() - started
            runs.append({"seed": seed, "process_seconds": whole, **json.loads(printed)})
            runs[-1].pop("run")
        print(runs[-1], flush=True)
    accuracy = sum(run["test_accuracy"] for run in runs) / len(runs)
    baseline = runs[0]["nearest_neighbour_accuracy"]
    harness.record(
        "emoji_demo" if options.recipe is None else f"emoji_{options.recipe}",
        {
            "mean_test_accuracy": accuracy,
            "nearest_neighbour_accuracy": baseline,
            "points_over": 100 * (accuracy - baseline),
            "runs": runs,
        },
    )
