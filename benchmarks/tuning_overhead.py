"""What a search adds to training: seconds a trial of a seen shape, seconds a proposal, memory over 100 trials.

    python benchmarks/tuning_overhead.py [--trials 100]

A search of tiny models of two shapes, one epoch of six steps a trial, by one worker. `trial` is from "started" to "ended" in the
journal, saving the trained model as a preset included; `bare` the same steps, and the validation, in a loop over batches in memory in
a process that has compiled them; what is left is the search's. `proposal` is from the end of one trial to the start of the next:
policy, model of the trials so far, journal. Memory is the resident set of the process that trains.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
import numpy as np
import psutil

from vit_keras.data import ImageData, Split
from vit_keras.tuning import FloatRange, TunerOptions, ViTHyperModel, ViTTuner

IMAGE, CLASSES, TRAIN, BATCH = 16, 3, 96, 16
SPACE: dict[str, Any] = {
    "num_layers": [1, 2], "num_heads": [2], "head_dim": [8], "mlp_ratio": [2], "patch_size": [4], "stem": ["patch"],
    "pooling": ["mean"], "num_registers": [0], "stochastic_depth_rate": [0.0], "augmentation": ["light"], "batch_size": [BATCH],
    "learning_rate": FloatRange(1e-4, 1e-2, log=True), "weight_decay": FloatRange(1e-3, 0.3, log=True),
}  # fmt: skip


def split(count: int) -> Split:
    labels = np.arange(count) % CLASSES
    pixels = np.random.default_rng(count).integers(0, 256, (count, IMAGE, IMAGE, 3))
    return Split(pixels.astype("uint8"), labels.astype("int32"))


def bare_seconds(hypermodel: ViTHyperModel, data: ImageData, rounds: int = 20) -> float:
    """The steps and the validation of a trial, and nothing else."""
    values = hypermodel.default_values()
    recipe = hypermodel.make_recipe(values, epochs=1, steps_per_epoch=data.steps_per_epoch)
    model = hypermodel.make_model(values)
    model.compile(**recipe.compile_kwargs())
    train, validation = data.splits["train"], data.splits["validation"]
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        for first in range(0, TRAIN, BATCH):
            model.train_on_batch(train.images[first : first + BATCH], train.labels[first : first + BATCH])
        for first in range(0, len(validation), BATCH):
            model.test_on_batch(validation.images[first : first + BATCH], validation.labels[first : first + BATCH])
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[3:]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args()
    splits = {"train": split(TRAIN), "validation": split(48), "test": split(48)}
    data = ImageData(name="noise", class_names=("a", "b", "c"), splits=splits, batch_size=BATCH)
    hypermodel = ViTHyperModel(IMAGE, CLASSES, space=SPACE)
    memory: list[float] = []

    def watch(record: Mapping[str, Any]) -> None:
        if record["what"] == "ended" and record["trial"] % 10 == 9:
            memory.append(max(child.memory_info().rss for child in psutil.Process().children()) / 2**20)

    with tempfile.TemporaryDirectory() as folder:
        tuner = ViTTuner(
            hypermodel,
            run_dir=Path(folder) / "run",
            budget=f"{options.trials} trials",
            options=TunerOptions(epochs=1),
            on_event=watch,
        )
        tuner.search(data)
        records = tuner.journal.records
    started = {record["trial"]: record["at"] for record in records if record["what"] == "started"}
    ended = {record["trial"]: record["at"] for record in records if record["what"] == "ended"}
    shapes = {trial.number: trial.values["num_layers"] for trial in tuner.study.trials}
    first = {min(number for number in shapes if shapes[number] == depth) for depth in set(shapes.values())}
    seen = [ended[number] - started[number] for number in shapes if number not in first]
    proposals = [started[number + 1] - ended[number] for number in shapes if number + 1 in started]
    bare = bare_seconds(hypermodel, data)
    harness.record(
        "tuning_overhead",
        {
            "trials": options.trials,
            "trial_of_a_seen_shape_seconds": harness.spread(seen),
            "bare_seconds": bare,
            "overhead_seconds": harness.spread([each - bare for each in seen]),
            "trial_of_a_new_shape_seconds": [round(ended[number] - started[number], 3) for number in sorted(first)],
            "proposal_seconds": harness.spread(proposals),
            "proposal_seconds_of_the_last_ten": harness.spread(proposals[-10:]),
            "memory_mib_every_ten_trials": [round(each, 1) for each in memory],
        },
    )
