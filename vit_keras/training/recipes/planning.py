"""Chooses a recipe: by name, or by the number of training images per class."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.published import FINETUNING, RECIPES, PublishedRecipe
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.recipes.sizing import fit_to_data, fit_to_labels
from vit_keras.training.recipes.task_fields import count_labels
from vit_keras.validation import closest, list_words

if TYPE_CHECKING:
    import keras

    from vit_keras.data import ImageData

FEW = 10  # median number of images per class up to which only the head is trained
FEW_NUMBERS = 100  # images of a regression up to which only the head is trained


def plan_recipe(
    model: "keras.Model",
    data: "ImageData",
    *,
    method: str = "auto",
    epochs: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Returns the recipe for training a model on data, by name or, by default, one of `FINETUNING`, with its choices."""
    published, reason = _choose(method, data.splits["train"].labels, len(data.class_names))
    return fit_to_data(published, model, data, epochs=epochs, changes=changes, reason=reason)


def plan_finetuning(
    labels: np.ndarray,
    config: ViTConfig,
    *,
    num_classes: int,
    steps_per_epoch: int,
    method: str = "auto",
    epochs: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Returns the recipe of `plan_recipe` where there is no model yet, only its config and the labels."""
    published, reason = _choose(method, labels, num_classes)
    return fit_to_labels(
        published,
        labels,
        config,
        num_classes=num_classes,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        changes=changes,
        reason=reason,
    )


def _choose(method: str, labels: np.ndarray, num_classes: int) -> tuple[PublishedRecipe, str]:
    if method in RECIPES:
        return RECIPES[method], "as asked"
    if method != "auto":
        known = ["auto", *FINETUNING]
        raise InvalidArgumentError(
            f"Unknown method={method!r}; the closest are {list_words(closest(method, known))}, and all are {list_words(known)}."
        )
    usual = len(labels) if labels.dtype.kind == "f" else int(np.median(count_labels(labels, num_classes)))
    images = f"{usual} image{'' if usual == 1 else 's'}{'' if labels.dtype.kind == 'f' else ' per class'}"
    if usual <= (FEW_NUMBERS if labels.dtype.kind == "f" else FEW):
        return RECIPES["linear_probe"], f"{images}: too few to train more than the head"
    return RECIPES["head_first"], f"{images}: enough to train all weights, starting from a fitted head"
