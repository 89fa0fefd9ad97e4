"""What a recipe needs to know of the task of the labels: loss, scale of the targets, class weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vit_keras.data.tasks import labels_task
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.recipe import Choice, Recipe

_LARGEST_WEIGHT = 20.0  # of a rare class of a multi-label task


def fit_task(recipe: Recipe, labels: np.ndarray) -> Recipe:
    """Returns a recipe with the fields that the task of the training labels decides, and their reasons; unchanged for single labels."""
    fields = find_task_fields(recipe, labels)
    if not fields:
        return recipe
    changed = recipe.replace(**{name: value for name, (value, _) in fields.items()})
    return replace(changed, choices=(*changed.choices, *list_choices(fields)))


def list_choices(fields: Mapping[str, tuple[Any, str]]) -> list[Choice]:
    """Returns fields with their reasons as choices; the scale of the targets is in the recipe."""
    return [Choice(name, value, why) for name, (value, why) in fields.items() if not name.startswith("target_")]


def find_task_fields(recipe: Recipe, labels: np.ndarray) -> dict[str, tuple[Any, str]]:
    """Returns a value and its reason for each field of a recipe that the task of the labels decides."""
    task = labels_task(labels)
    if task == "single_label":
        return {}
    fields: dict[str, tuple[Any, str]] = {"task": (task, "found from the labels, or stated with the data")}
    if recipe.label_smoothing:
        why = "smoothing spreads one class's share over others, and " + (
            "these images have any number of classes" if task == "multi_label" else "numbers have no classes"
        )
        fields["label_smoothing"] = (0.0, why)
    if task == "multi_label":
        if recipe.loss != "binary_crossentropy":
            fields["loss"] = ("binary_crossentropy", "each class is there or not, whatever the others")
        return fields
    numbers = labels.astype("float64")
    fields["loss"] = ("mean_squared_error", "of numbers divided by their standard deviation")
    fields["target_mean"] = (tuple(numbers.mean(axis=0).tolist()), "of the training labels")
    scale = numbers.std(axis=0)
    fields["target_scale"] = (tuple(np.where(scale > 0, scale, 1.0).tolist()), "of the training labels")
    if recipe.augmentation.cutmix_alpha:
        augmentation = recipe.augmentation.replace(cutmix_alpha=0.0)
        fields["augmentation"] = (augmentation, "without CutMix: a pasted box does not change a number by its area")
    return fields


def count_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the number of images per class, `(num_classes,)`; zeros for a regression, which has no classes."""
    if labels.ndim == 1:
        return np.bincount(labels, minlength=num_classes)
    return labels.sum(axis=0, dtype="int64") if labels.dtype.kind != "f" else np.zeros(num_classes, "int64")


def balance_columns(labels: np.ndarray) -> tuple[float, ...]:
    """Returns class weights for a multi-label task: images without the class per image with it, from 1 to 20.

    Raises:
        InvalidArgumentError: The labels are numbers.
    """
    if labels.dtype.kind == "f":
        raise InvalidArgumentError("class_weights: a regression has no classes; leave them out.")
    counts = labels.sum(axis=0, dtype="float64")
    return tuple(np.clip((len(labels) - counts) / np.maximum(counts, 1), 1, _LARGEST_WEIGHT).tolist())
