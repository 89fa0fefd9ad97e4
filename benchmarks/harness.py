"""What all benchmarks share: interleaved timing, medians, and the record of a result."""

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or Path(__file__).parent / "results")


def processor_folder() -> Path:
    """Returns the folder of this kind of processor's results, such as `results/intel_xeon_amx`, so that kinds are kept apart."""
    from vit_keras.runtime.cpu import instruction_sets, processor_name

    words = re.sub(r"\((r|tm)\)|processor|cpu|@.*", " ", processor_name().lower())
    matrix_units = ["amx"] if "amx_tile" in instruction_sets() else []
    return RESULTS / "_".join([*re.findall(r"[a-z0-9]+", words), *matrix_units])


def memory(field: str) -> int:
    """Returns a value of this process's status in bytes."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def interleaved(
    steps: dict[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Returns the seconds per round of each step, run as A B C A B C ..., so that changes in load affect all of them.

    `time.process_time` as the clock counts the processor time of all threads, for machines that are busy with other work.
    """
    for _ in range(warmup):
        for step in steps.values():
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = clock()
            step()
            seconds[name].append(clock() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Returns median, minimum and maximum."""
    return {"median": float(np.median(values)), "low": float(np.min(values)), "high": float(np.max(values))}


def is_unsteady(found: dict[str, float]) -> bool:
    """True if the range exceeds a quarter of the median: the machine was busy with other work."""
    return found["high"] - found["low"] > found["median"] / 4


def matmul_rate(dtype: str = "float32", size: int = 2048) -> float:
    """Returns the rate of a matrix product on this machine now, in 10^9 multiply-adds per second."""
    import keras

    matrix = keras.ops.cast(keras.random.normal((size, size)), dtype)
    seconds = interleaved(
        {"matmul": lambda: keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix)[:1, :1])}, rounds=5
    )
    return 2 * size**3 / float(np.median(seconds["matmul"])) / 1e9


def keras_steps(
    model: Any, batch_size: int, *, optimizer: str = "vit_keras", **compiled: Any
) -> dict[str, Callable[[], object]]:
    """Compiles a model and returns a training step and an inference step on pixels in memory.

    Args:
        model: With a head that returns logits.
        batch_size: Images per step.
        optimizer: Whose AdamW: "vit_keras" or "keras".
        **compiled: Further arguments of `compile`.
    """
    import keras

    import vit_keras as vk

    rng, classes = np.random.default_rng(0), model.output_shape[-1]
    images = rng.integers(0, 256, (batch_size, *model.input_shape[1:])).astype("float32")
    labels = rng.integers(0, classes, batch_size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adamw = vk.training.AdamW if optimizer == "vit_keras" else keras.optimizers.AdamW
    model.compile(adamw(1e-4), loss, **compiled)
    return {
        "training": lambda: model.train_on_batch(images, labels),
        "inference": lambda: model.predict_on_batch(images),
    }


def load() -> float:
    """Returns the load average per core over the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def read_earlier(name: str) -> dict[str, Any]:
    """Returns the result of this benchmark that was recorded on this processor; empty without one."""
    path = processor_folder() / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def record(name: str, result: dict[str, Any], *, quick: bool = False) -> None:
    """Prints a result and writes it to `results/PROCESSOR/NAME.json` with the machine; a quick one is only printed."""
    machine: dict[str, Any] = {}
    if not quick:  # it imports the backend, which takes seconds in a process that only starts others
        from vit_keras.runtime.environment import environment

        machine = environment()
    written = {
        "benchmark": name,
        "command": shlex.join(
            ["python", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)]
        ),
        "date": datetime.now(UTC).date().isoformat(),
        "environment": machine,
        **result,
    }
    text = json.dumps(written, indent=2)
    if not quick:
        folder = processor_folder()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(text + "\n")
    print(text)
