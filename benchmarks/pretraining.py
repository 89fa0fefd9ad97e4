"""Pre-training on unlabeled images and fine-tuning with few labels, compared with training from scratch.

    python benchmarks/pretraining.py [--minutes 30] [--methods mae] [--labels 10 20 100] [--seeds 3] [--cells 4]

An encoder is pre-trained on images without their labels for a budget of processor time, two cores' minutes, and fine-tuned with the
library's defaults on some labeled ones. Training from scratch gets the same labeled images and is run at doubling lengths until its accuracy
on validation images no longer rises; the same validation images choose nothing else. Test images give the final numbers only.

The budget is in processor seconds of the process, so that other work on the machine changes the result little. Every finished cell is written
at once to `results/PROCESSOR/pretraining.json` and skipped when the command runs again; encoders are kept in `--work`.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import keras
import numpy as np

import vit_keras as vk
from vit_keras.data import ImageData
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.pretraining.methods import METHODS
from vit_keras.pretraining.recipe import plan_pretraining
from vit_keras.runtime.precision import dtype_policy, resolve
from vit_keras.runtime.random_state import random_state
from vit_keras.runtime.tensorflow_threads import prefer_parallel_operations
from vit_keras.training.optim import optimizers, schedules
from vit_keras.training.recipes.planning import plan_recipe

CORES = 2
UNLABELED = {"fashion_mnist": 10_000, "emoji": 2_000}
VALIDATION = 500  # images
PROBED = 2000  # images whose labels measure the features while nothing is chosen by them
BATCH_SIZE = 128  # of pre-training
SCRATCH_EPOCHS = (50, 100, 200, 400, 800, 1600)
TICKS = 10_000  # of the schedule; the clock decides which
RESULT = "pretraining"


@dataclass(frozen=True)
class Cell:
    """One number to measure."""

    data: str
    unlabeled: int
    preset: str
    method: str  # "scratch" or a method of pre-training
    minutes: float  # of pre-training; 0 for scratch
    labels: int  # per class; 0 for the pre-training itself
    seed: int

    @property
    def name(self) -> str:
        """The cell's name in the results."""
        budget = "" if self.method == "scratch" else f"-{self.minutes:g}min"
        what = f"{self.labels}labels" if self.labels else "pretraining"
        return f"{self.data}-{self.unlabeled}-{self.preset}-{self.method}{budget}-{what}-seed{self.seed}"


def load(name: str, unlabeled: int, seed: int) -> ImageData:
    """Returns the unlabeled images as the training split, and the validation images; the same for every seed of a run but the draw."""
    data = vk.data.load(name, image_size=32)
    train = data.splits["train"]
    order = np.random.default_rng((7, seed)).permutation(len(train))
    if len(train) >= unlabeled + VALIDATION:
        validation = train.subset(order[unlabeled : unlabeled + VALIDATION])
    else:
        validation = data.splits["validation"]
    splits = {**data.splits, "train": train.subset(order[:unlabeled]), "validation": validation}
    return replace(data, splits=splits, seed=seed)


def draw(data: ImageData, labels: int) -> ImageData:
    """Returns the data with so many training images per class, drawn from the unlabeled ones by the seed."""
    train = data.splits["train"]
    order = np.random.default_rng((11, data.seed)).permutation(len(train))
    chosen = [order[train.labels[order] == label][:labels] for label in range(len(data.class_names))]
    return replace(data, splits={**data.splits, "train": train.subset(np.sort(np.concatenate(chosen)))})


def build(preset: str, data: ImageData, seed: int, *, num_classes: int | None = None) -> keras.Model:
    with random_state(seed), dtype_policy(resolve("auto")):
        return vk.from_preset(preset, num_classes=num_classes, channels=data.image_shape[2])


class ProcessorBudget(keras.callbacks.Callback):
    """Sets the learning rate by the processor time that has passed, and stops when it is used up."""

    def __init__(self, seconds: float, rate: float) -> None:
        super().__init__()
        self.seconds, self.started = seconds, time.process_time()
        self.schedule = schedules.warmup_cosine(rate, steps=TICKS, warmup_steps=TICKS // 20)
        self.steps, self.losses = 0, []

    @property
    def elapsed(self) -> float:
        """Processor seconds since the start."""
        return time.process_time() - self.started

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        """Sets the learning rate for the elapsed fraction."""
        self.model.optimizer.learning_rate = float(self.schedule(min(1.0, self.elapsed / self.seconds) * TICKS))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the step and checks the clock."""
        self.steps += 1
        self.last = logs
        if self.elapsed >= self.seconds:
            self.model.stop_training = True


def pretrain(cell: Cell, data: ImageData) -> tuple[keras.Model, dict[str, Any]]:
    """Returns an encoder pre-trained for the budget, and what was measured of it."""
    encoder = build(cell.preset, data, cell.seed)
    method, data = METHODS[cell.method], replace(data, batch_size=BATCH_SIZE)
    count, steps = len(data.splits["train"]), data.steps_per_epoch
    width = vk.model_config(encoder).hidden_dim
    recipe, _ = plan_pretraining(
        method, images=count, batch_size=BATCH_SIZE, steps_per_epoch=steps, hidden_dim=width, epochs=1
    )
    with random_state(cell.seed):
        objective = method.make(encoder, options=recipe.options, seed=cell.seed)
    clock = ProcessorBudget(cell.minutes * 60 * CORES, recipe.learning_rate)
    objective.compile(
        optimizer=optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay, beta_2=recipe.beta_2)
    )
    batches = data.training_batches(epochs=100_000, augmentation=recipe.augmentation)
    objective.fit(batches.map(lambda images, _: images), epochs=1, steps_per_epoch=10**9, verbose=0, callbacks=[clock])
    seconds = clock.elapsed
    objective.finish(batches.map(lambda images, _: images).take(20))
    encoder = objective.encoder
    both = {name: data.splits[name] for name in ("train", "validation")}
    scores = vk.evaluate_features(encoder, replace(data, splits=both).limit(PROBED), compare_with_random=False)
    last = {name: float(value) for name, value in clock.last.items()}
    return encoder, {
        "processor_seconds": seconds,
        "steps": clock.steps,
        "epochs": clock.steps * BATCH_SIZE / len(data.splits["train"]),
        "last": last,
        "validation_features": scores.to_dict(),
    }


def fit(model: keras.Model, recipe: vk.training.Recipe, data: ImageData) -> keras.Model:
    """Returns the model trained as the recipe says, without validation in between."""
    model = recipe.prepare(model, data)
    if recipe.method == "linear_probe":
        return model
    model.compile(**recipe.compile_kwargs())
    batches = data.training_batches(epochs=recipe.epochs, augmentation=recipe.augmentation)
    steps = recipe.epochs * recipe.steps_per_epoch
    model.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=recipe.callbacks())
    return model


def measure(model: keras.Model, data: ImageData) -> dict[str, float]:
    return {f"{name}_accuracy": evaluate(model, data.splits[name]).accuracy for name in ("validation", "test")}


def finetune(encoder: keras.Model, data: ImageData) -> dict[str, Any]:
    """Returns the accuracies of an encoder fine-tuned with the library's defaults."""
    started = time.process_time()
    data = data.fit_batch_size(64)
    recipe = plan_recipe(encoder, data)
    model = fit(encoder, recipe, recipe.seeded(data))
    return {"processor_seconds": time.process_time() - started, "recipe": recipe.name, **measure(model, data)}


def scratch(cell: Cell, data: ImageData) -> dict[str, Any]:
    """Returns the accuracies of training from scratch at the length that validates best; lengths double until it no longer improves."""
    data, tried = data.fit_batch_size(128), []
    for epochs in SCRATCH_EPOCHS:
        started = time.process_time()
        model = build(cell.preset, data, cell.seed, num_classes=len(data.class_names))
        recipe = vk.recipes.small_images(model, data, epochs=epochs)
        model = fit(model, recipe, recipe.seeded(data))
        tried.append({"epochs": epochs, "processor_seconds": time.process_time() - started, **measure(model, data)})
        print(tried[-1], flush=True)
        accuracies = [each["validation_accuracy"] for each in tried]
        if int(np.argmax(accuracies)) < len(accuracies) - 1:
            break
    best = max(tried, key=lambda each: each["validation_accuracy"])
    return {**best, "tried": tried}


class Results:
    """The finished cells, in a file."""

    def __init__(self) -> None:
        self.path = harness.processor_folder() / f"{RESULT}.json"
        self.cells = self._read()

    def _read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())["cells"] if self.path.exists() else {}

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Writes a finished cell."""
        self.cells = {**self._read(), name: found}  # another process may have added cells
        harness.record(RESULT, {"cores_of_a_minute": CORES, "cells": self.cells, "summary": summarize(self.cells)})


def summarize(cells: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the mean test accuracy of each method beside scratch, and the fraction of errors that it saves."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for found in cells.values():
        cell = found["cell"]
        if cell["labels"]:
            key = tuple(cell[name] for name in ("data", "unlabeled", "preset", "labels", "method", "minutes"))
            groups.setdefault(key, []).append(found["test_accuracy"])
    rows = []
    for (data, unlabeled, preset, labels, method, minutes), accuracies in sorted(groups.items()):
        base = groups.get((data, unlabeled, preset, labels, "scratch", 0))
        row = {"data": data, "unlabeled": unlabeled, "preset": preset, "labels": labels, "method": method}
        row |= {"minutes": minutes, "seeds": len(accuracies), "test_accuracy": float(np.mean(accuracies))}
        if base and method != "scratch":
            row["fewer_errors"] = 1 - (1 - row["test_accuracy"]) / (1 - float(np.mean(base)))
        rows.append(row)
    return rows


def list_cells(options: argparse.Namespace) -> Iterator[Cell]:
    for seed in range(options.seeds):
        for method in options.methods:
            minutes = 0 if method == "scratch" else options.minutes
            for labels in options.labels:
                yield Cell(options.data, options.unlabeled, options.preset, method, minutes, labels, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist", choices=sorted(UNLABELED))
    parser.add_argument("--unlabeled", type=int, help="images without labels")
    parser.add_argument("--preset", default="vit_nano_patch4_32")
    parser.add_argument(
        "--methods", nargs="+", default=["scratch", "mae", "lejepa"], choices=("scratch", "mae", "lejepa")
    )
    parser.add_argument("--minutes", type=float, default=30, help="of two cores, per pre-training")
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 10, 100], help="per class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("pretraining_work"), help="folder of encoders")
    options = parser.parse_args()
    options.unlabeled = options.unlabeled or UNLABELED[options.data]
    prefer_parallel_operations()  # as `vit-keras pretrain` does
    results = Results()
    for cell in list_cells(options):
        if cell.name in results.cells:
            continue
        whole = load(cell.data, cell.unlabeled, cell.seed)
        data = draw(whole, cell.labels)
        if cell.method == "scratch":
            found = scratch(cell, data)
        else:
            folder = options.work / replace(cell, labels=0).name
            if not folder.exists():
                encoder, measured = pretrain(cell, whole)
                options.work.mkdir(parents=True, exist_ok=True)
                vk.save_preset(encoder, folder)
                results.add(folder.name, {"cell": vars(replace(cell, labels=0)), **measured})
            found = finetune(vk.load_model(folder), data)
        results.add(cell.name, {"cell": vars(cell), **found})


if __name__ == "__main__":
    main()
