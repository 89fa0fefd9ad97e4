"""Trains every configuration of a grid, for `tuning_simulation.py`: results/tuning_table.csv.

    python benchmarks/tuning_table.py

48 configurations x 2 seeds x 8 epochs: Vision Transformers with 15,000 to 330,000 parameters on 4,000 training images of Fashion-MNIST,
validated on 2,000 others after each epoch. Each trains like a trial of a search, with a schedule of 8 epochs. Runs that are in the table
are skipped. About 15 minutes on two cores.
"""

import argparse
import csv
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import vit_keras as vk
from vit_keras.data import ImageData, Split
from vit_keras.tuning import ViTHyperModel
from vit_keras.tuning.workers.trial_training import TrialTrainer

TABLE = Path(__file__).parent / "results" / "tuning_table.csv"
EPOCHS, SEEDS, TRAIN, VALIDATION = 8, 2, 4_000, 2_000
GRID: dict[str, list[Any]] = {
    "num_layers": [2, 4, 6],
    "num_heads": [2, 4],
    "mlp_ratio": [2, 4],
    "learning_rate": [3e-4, 1e-3, 3e-3, 1e-2],
}
FIXED: dict[str, list[Any]] = {
    "head_dim": [16], "patch_size": [7], "stem": ["patch"], "pooling": ["mean"], "num_registers": [0],
    "stochastic_depth_rate": [0.0], "weight_decay": [0.05], "augmentation": ["none"], "batch_size": [64],
    "optimizer": ["adamw"],
}  # fmt: skip


def configurations() -> list[dict[str, Any]]:
    """Returns every combination of the grid, in order."""
    return [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]


def hypermodel() -> ViTHyperModel:
    """Returns the search space of the grid."""
    return ViTHyperModel(28, 10, channels=1, space={**GRID, **FIXED})


def images() -> ImageData:
    """Returns 4,000 training images and 2,000 validation images."""
    data = vk.data.load("fashion_mnist", seed=0)
    split = data.splits["train"]
    order = np.random.default_rng(0).permutation(len(split))
    train, validation = order[:TRAIN], order[TRAIN : TRAIN + VALIDATION]
    parts = {
        name: Split(split.images[rows], split.labels[rows])
        for name, rows in (("train", train), ("validation", validation))
    }
    return ImageData(name="fashion_mnist", class_names=data.class_names, splits={**parts, "test": data.splits["test"]})


def read() -> dict[tuple[int, int], list[float]]:
    """Returns the validation accuracies per epoch of complete runs, by configuration and seed."""
    if not TABLE.is_file():
        return {}
    found: dict[tuple[int, int], list[float]] = {}
    with TABLE.open() as file:
        for row in csv.DictReader(file):
            found.setdefault((int(row["configuration"]), int(row["seed"])), []).append(float(row["val_accuracy"]))
    return {key: curve for key, curve in found.items() if len(curve) == EPOCHS}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    done, data = read(), images()
    rows: list[list[Any]] = []
    if not TABLE.is_file():
        TABLE.write_text("configuration,seed,epoch,val_accuracy,seconds\n")
    for seed in range(SEEDS):
        trainer = TrialTrainer(hypermodel(), data, epochs=EPOCHS, seed=seed)
        for number, chosen in enumerate(configurations()):
            if (number, seed) in done:
                continue
            rows = []

            def on_epoch(
                epochs: int, metrics: dict[str, float], seconds: float, number: int = number, seed: int = seed
            ) -> bool:
                rows.append([number, seed, epochs, round(metrics["val_accuracy"], 4), round(seconds, 3)])  # noqa: B023
                return True

            began = time.monotonic()
            values = {**{name: options[0] for name, options in FIXED.items()}, **chosen}
            with tempfile.TemporaryDirectory() as folder:
                trainer.train(values, until=EPOCHS, folder=Path(folder) / "trial", on_epoch=on_epoch)
            with TABLE.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
            print(seed, number, chosen, rows[-1][3], f"{time.monotonic() - began:.1f} s", flush=True)
    print(f"{keras.backend.backend()}: {TABLE}")
