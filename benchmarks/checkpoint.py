"""What a checkpoint of 250 MB takes: of the training thread, in all, and to load.

    python benchmarks/checkpoint.py [--rounds 15] [--arrays 150] [--folder FOLDER]

The training thread copies every array, as it must because backends give their memory away, and hands the copies over; the rest is done
beside it. Writing is timed down to the disk (fsync), checksums included; loading with the file in the operating system's cache. The
disk is that of FOLDER, else of the system's temporary folder; how fast it writes the same bytes plainly is measured beside it. Linux and
macOS.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import harness
import numpy as np

from vit_keras.training.checkpoints.store import CheckpointStore

SIDE = (416, 1024)
TARGET = 0.5  # seconds of the training thread


def plain_write(path: Path, content: bytes) -> float:
    """Returns the seconds in which as many bytes are on the disk without a checkpoint around them."""
    start = time.perf_counter()
    with path.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def measure(folder: Path, *, arrays: int, rounds: int) -> dict[str, object]:
    """Returns the seconds of each part, by round."""
    rng, load = np.random.default_rng(0), os.getloadavg()[0]
    live = {f"model/{index:04d}/kernel": rng.random(SIDE, "float32") for index in range(arrays)}
    content = rng.bytes(sum(array.nbytes for array in live.values()))
    store = CheckpointStore(folder / "checkpoints")
    seconds: dict[str, list[float]] = {"training thread": [], "whole write": [], "load": [], "plain write": []}
    for step in range(rounds + 1):
        start = time.perf_counter()
        store.save(step, {name: np.array(array) for name, array in live.items()}, {"step": step})
        handed_over = time.perf_counter()
        store.wait()
        written = time.perf_counter()
        found = store.newest()
        loaded = time.perf_counter()
        if found is None or any(found.tensors[name].tobytes() != array.tobytes() for name, array in live.items()):
            raise RuntimeError("what was loaded is not what was saved")
        if step == 0:  # the first round warms up
            continue
        seconds["training thread"].append(handed_over - start)
        seconds["whole write"].append(written - start)
        seconds["load"].append(loaded - written)
        seconds["plain write"].append(plain_write(folder / "plain", content))
    store.clear()
    return {
        "arrays": arrays,
        "bytes": len(content),
        "rounds": rounds,
        "seconds": {name: harness.spread(values) for name, values in seconds.items()},
        "target_seconds_of_training_thread": TARGET,
        "rounds_over_target": sum(value >= TARGET for value in seconds["training thread"]),
        "load_average_before_and_after": [load, os.getloadavg()[0]],  # processes; what others do to the times
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--arrays", type=int, default=150)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        harness.record("checkpoint", measure(Path(folder), arrays=options.arrays, rounds=options.rounds))
