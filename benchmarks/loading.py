"""Time and memory of loading ViT-B's 86 million parameters from safetensors, compared with reading the file.

    python benchmarks/loading.py [--preset vit_base_patch16_224] [--rounds 5]

Both are timed in turns, cold (the file is dropped from the operating system's cache before each) and warm. Memory is the growth of the
process's peak while it loads into a built model, as a fraction of the file size. Linux only.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import keras

import vit_keras as vk
from vit_keras.weights import write_tensors


def forget(path: Path) -> None:
    """Drops a file's pages from the operating system's cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_growth(step: Callable[[], object]) -> int:
    """Returns the growth of this process's peak memory over its current memory during a step, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")
    before = harness.memory("VmRSS")
    step()
    return harness.memory("VmHWM") - before


def timed(step: Callable[[], object]) -> float:
    """Returns the seconds of a step."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_base_patch16_224")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = vk.from_preset(options.preset, num_classes=1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        write_tensors({weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}, path)

        def load() -> None:
            vk.weights.load(model, path, keep_on_failure=False)

        growth = peak_growth(load)
        safe_growth = peak_growth(lambda: vk.weights.load(model, path))
        seconds: dict[str, list[float]] = {"read cold": [], "load cold": [], "read warm": [], "load warm": []}
        for _ in range(options.rounds):
            for name, values in seconds.items():
                if name.endswith("cold"):
                    forget(path)
                values.append(timed(path.read_bytes if name.startswith("read") else load))
        medians = {name: harness.spread(values)["median"] for name, values in seconds.items()}
        harness.record(
            "loading",
            {
                "preset": options.preset,
                "file_bytes": path.stat().st_size,
                "peak_growth_of_file": growth / path.stat().st_size,
                "peak_growth_of_file_kept_on_failure": safe_growth / path.stat().st_size,
                "seconds": {name: harness.spread(values) for name, values in seconds.items()},
                "cold_ratio": medians["load cold"] / medians["read cold"],
                "warm_ratio": medians["load warm"] / medians["read warm"],
            },
        )
