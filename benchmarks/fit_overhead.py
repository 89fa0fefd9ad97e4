"""What a step of a run costs beside the same step in a bare loop: pipeline, callbacks, progress and guards.

    python benchmarks/fit_overhead.py [--preset vit_small_patch16_224] [--batch-size 8] [--steps 12] [--rounds 5]

`bare` calls `train_on_batch` on one batch that is in memory; `fit` is what `vk.finetune` runs: augmented batches from the pipeline, the
callbacks of the recipe with averaged weights, the guard, the progress bar and the checkpoints' callback. The two take turns. Seconds
are those between the ends of steps, the first of each turn left out. The checkpoint at the end of a turn is timed apart: what it
takes of the training thread.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import keras
import numpy as np
from rich.console import Console

import vit_keras as vk
from vit_keras.data import ImageData, Split
from vit_keras.training.checkpoints.callback import Checkpointing
from vit_keras.training.recipes import finetune
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.fitting import Fitting

CLASSES = 10


class Clock(keras.callbacks.Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def get_state(self) -> dict[str, Any]:
        """Nothing that a run needs."""
        return {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the time."""
        self.ends.append(time.perf_counter())


def data_of(image_size: tuple[int, int], batch_size: int, steps: int) -> ImageData:
    """Returns images of noise, as many as a turn takes."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(rng.integers(0, 256, (count, *image_size, 3), dtype="uint8"), np.arange(count) % CLASSES)

    splits = {"train": split(batch_size * steps), "validation": split(batch_size), "test": split(batch_size)}
    names = tuple(str(index) for index in range(CLASSES))
    return ImageData(name="noise", class_names=names, splits=splits, batch_size=batch_size)


def measure(preset: str, batch_size: int, steps: int, rounds: int) -> dict[str, Any]:
    """Returns the seconds of a step, bare and in a run, and of a checkpoint."""
    model = vk.from_preset(preset, num_classes=CLASSES)
    data = data_of(vk.model_config(model).image_size, batch_size, steps)
    recipe = finetune.unsized(epochs=1, steps_per_epoch=steps, average_decay=0.999)
    model.compile(**recipe.compile_kwargs())
    pixels, labels = next(iter(data.training_batches(epochs=1)))
    seconds: dict[str, list[float]] = {"bare": [], "fit": []}
    saving: list[float] = []
    save = Checkpointing.save

    def timed(self: Checkpointing, **arguments: Any) -> None:
        start = time.perf_counter()
        save(self, **arguments)
        saving.append(time.perf_counter() - start)

    Checkpointing.save = timed  # type: ignore[method-assign]
    for turn in range(rounds + 1):  # the first compiles
        ends = []
        for _ in range(steps):
            model.train_on_batch(pixels, labels)
            ends.append(time.perf_counter())
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            console = Console(quiet=True)
            run = RunDirectory(Path(folder))
            Fitting(model=model, data=data, recipe=recipe, run=run, console=console, callbacks=[clock]).fit()
        if turn:
            seconds["bare"] += np.diff(ends).tolist()
            seconds["fit"] += np.diff(clock.ends).tolist()
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {
        "preset": preset,
        "batch_size": batch_size,
        "steps": steps,
        "rounds": rounds,
        "seconds_a_step": {name: harness.spread(values) for name, values in seconds.items()},
        "ratio": medians["fit"] / medians["bare"],
        "checkpoint_bytes": sum(int(np.prod(item.shape)) * 4 for item in [*model.weights, *model.optimizer.variables]),
        "checkpoint_seconds_of_the_training_thread": harness.spread(saving[1:]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_small_patch16_224")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    harness.record("fit_overhead", measure(arguments.preset, arguments.batch_size, arguments.steps, arguments.rounds))
