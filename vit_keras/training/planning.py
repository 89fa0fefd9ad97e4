"""What fine-tuning does when it is told nothing: each choice with its reason, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_keras.config import closest, is_number
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipe import Recipe
from vit_keras.training.recipes import FINETUNING, RECIPES

FEW = 10
"""Images a class up to which only the head is trained."""
STEPS = 400
"""Batches that a run is sized to, between the fewest and the most epochs."""
EPOCHS = (5, 60)
_IMBALANCED = 3  # most images of a class to fewest


@dataclass(frozen=True)
class Choice:
    """One thing that was decided.

    Args:
        what: Its name.
        value: What it is.
        reason: Why.
    """

    what: str
    value: Any
    reason: str


@dataclass(frozen=True)
class FinetuningPlan:
    """How a model is going to be fine-tuned.

    Args:
        recipe: All numbers.
        choices: What was decided, and why.
    """

    recipe: Recipe
    choices: tuple[Choice, ...]


def plan_finetuning(
    labels: np.ndarray,
    *,
    num_classes: int,
    steps_per_epoch: int,
    method: str = "auto",
    epochs: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> FinetuningPlan:
    """Returns how to fine-tune on training images with these labels, by how many there are of each class.

    Args:
        labels: `(count,)`, of the training images.
        num_classes: Classes of the head.
        steps_per_epoch: Training batches an epoch.
        method: A recipe of `FINETUNING`, or "auto" to have one chosen.
        epochs: Passes over the training images; None to have it chosen.
        changes: Fields of the recipe that are decided already; `class_weights` may be "balanced".

    Raises:
        InvalidArgumentError: There is no such method, or the recipe has no such field.

    Example:
        >>> plan = plan_finetuning(np.repeat([0, 1], 50), num_classes=2, steps_per_epoch=2)
        >>> plan.recipe.name, plan.recipe.epochs
        ('head_first', 60)
    """
    if method != "auto" and method not in FINETUNING:
        raise InvalidArgumentError(
            f"method={method!r} is no way of fine-tuning; the closest are {closest(method, ['auto', *FINETUNING])} of "
            f"{['auto', *FINETUNING]}."
        )
    counts = np.bincount(labels, minlength=num_classes)
    changes, choices = dict(changes or {}), []
    if method == "auto":
        usual = int(np.median(counts))
        method = "linear_probe" if usual <= FEW else "head_first"
        reason = (
            f"{usual} images a class are too few to change more than the head"
            if usual <= FEW
            else f"{usual} images a class are enough to change all weights, from a head that fits already"
        )
        choices.append(Choice("method", method, reason))
    else:
        choices.append(Choice("method", method, "as asked"))
    reason = "as asked"
    if epochs is None:
        epochs = int(np.clip(-(-STEPS // steps_per_epoch), *EPOCHS))
        reason = f"{epochs * steps_per_epoch} steps of {steps_per_epoch} an epoch"
    weights = changes.get("class_weights")
    if isinstance(weights, str):
        if weights != "balanced":
            raise InvalidArgumentError(f'class_weights={weights!r} is neither "balanced" nor a number a class.')
        changes["class_weights"] = balanced(counts)
        choices.append(Choice("class_weights", "balanced", "as asked"))
    elif weights is None and counts.min() and counts.max() > _IMBALANCED * counts.min():
        most, fewest = counts.max(), counts.min()
        choices.append(
            Choice(
                "class_weights",
                None,
                f'{most} images of one class and {fewest} of another: class_weights="balanced" makes each class count alike',
            )
        )
    recipe = RECIPES[method](epochs=epochs, steps_per_epoch=steps_per_epoch, **changes)
    choices.append(Choice("epochs", recipe.epochs, reason if recipe.epochs == epochs else "the recipe's own"))
    choices += [Choice(name, value, "as asked") for name, value in changes.items() if name != "class_weights"]
    if not any(choice.what == "learning_rate" for choice in choices) and is_number(recipe.learning_rate):
        choices.append(Choice("learning_rate", recipe.learning_rate, f"the recipe's: {recipe.source}"))
    return FinetuningPlan(recipe, tuple(choices))


def balanced(counts: np.ndarray) -> tuple[float, ...]:
    """Returns the weights under which every class that has images counts alike, 1 on average over the images.

    Args:
        counts: `(classes,)`, images of each.

    Example:
        >>> balanced(np.array([10, 30]))
        (2.0, 0.6666666666666666)
    """
    present = counts > 0
    return tuple(float(counts.sum() / (present.sum() * count)) if count else 1.0 for count in counts)
