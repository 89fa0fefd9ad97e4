"""Test accuracy of each fine-tuning method compared with training all weights: same initial weights, images and steps.

The learning rates of biases and LoRA were selected on seed 0 of emoji-20, mnist-20 and digits-20 with "conv", from 0.003, 0.01 and, for biases,
0.03, which was one point better on average, two points worse on emoji, and is not used.
"""

import time
from typing import Any

import finetune_cells as cells
import finetune_engine as engine
import finetune_runs as runs
import keras
import numpy as np

import vit_keras as vk
from vit_keras.training.recipes.planning import plan_finetuning
from vit_keras.training.transfer.freezing import trainable_params

METHODS = ("head_first", "finetune", "last_blocks", "bias_only", "lora", "linear_probe")
"""The first is the default."""


def table(made: runs.Runs, chosen: list[cells.Cell], seeds: int) -> dict[str, Any]:
    """Returns the mean test accuracy of each method on each cell in %, and its gain over the default per seed."""
    found = {
        method: np.array([[made.once(cell, seed, {"method": method}, run) for seed in range(seeds)] for cell in chosen])
        for method in METHODS
    }
    rows = []
    for method, results in found.items():
        accuracy = 100 * np.vectorize(lambda result: result["accuracy"])(results)
        gain = accuracy - 100 * np.vectorize(lambda result: result["accuracy"])(found[METHODS[0]])
        rows.append(
            {
                "method": method,
                "trained": results[0, 0]["trained"],
                "of": results[0, 0]["of"],
                "mean_accuracy": float(accuracy.mean()),
                "mean_gain": float(gain.mean()),
                "standard_error": float(gain.std(ddof=1) / np.sqrt(gain.size)) if gain.size > 1 else None,
                "cells": {cell.name: float(row.mean()) for cell, row in zip(chosen, accuracy, strict=True)},
            }
        )
        print(rows[-1], flush=True)
    return {"rows": rows}


def run(made: runs.Runs, cell: cells.Cell, seed: int, way: dict[str, Any]) -> runs.Result:
    """Fine-tunes with `model.fit` as the package plans it for the method."""
    source = made.source(cell.data)
    data = cell.training_images(source, seed=seed)
    whole = engine.image_data(data, seed=seed, held_out=cell.held_out_images(source, seed=seed))
    steps = made.steps(cell)
    keras.utils.set_random_seed(seed)
    base = vk.from_preset(made.backbone(cell.backbone))
    recipe = plan_finetuning(
        data.labels,
        vk.model_config(base),
        num_classes=len(whole.class_names),
        steps_per_epoch=whole.steps_per_epoch,
        method=way["method"],
        epochs=-(-steps // whole.steps_per_epoch),
    )
    started = time.perf_counter()
    model = recipe.prepare(base, whole)
    model.compile(**recipe.compile_kwargs())
    if recipe.method != "linear_probe":
        batches = whole.training_batches(epochs=recipe.epochs, augmentation=recipe.augmentation).take(steps)
        model.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)
    test = source.test.at_side(cell.side)
    right = model.predict(test.images, batch_size=500, verbose=0).argmax(-1) == test.labels
    return {
        "trained": trainable_params(model),
        "of": model.count_params(),
        "steps": steps,
        "accuracy": float(right.mean()),
        "seconds": time.perf_counter() - started,
    }
