"""What fine-tuning does when it is told nothing: each choice with its reason, as data."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes import FINETUNING, RECIPES, SCRATCH
from vit_keras.training.recipes.recipe import Choice, Recipe
from vit_keras.validation import closest

FEW = 10
"""Images a class up to which only the head is trained."""
STEPS = 400
"""Batches that a run is sized to, between the fewest and the most epochs."""
EPOCHS = (5, 60)
SELDOM = 8
"""Passes below which training images are left as they are: augmentation has too little time to pay."""
OURS = ("finetune", "head_first", "last_blocks", "bias_only", "adapters")
"""Our own recipes, whose numbers were measured at width 128 and are sized; those of others stand as they were published."""
SCRATCH_EPOCHS = 50
"""Passes over the training images where a recipe begins with random weights and nothing is said."""
_WIDTH = 128  # benchmarks/finetune.py
_WHOLE_MATRICES = ("finetune", "head_first", "last_blocks")
_SHALLOW, _DEEP_DECAY = 6, 0.75
_MEASURED_STEPS, _USUAL_WEIGHT_DECAY = 400, 0.05
_IMBALANCED = 3  # most images of a class to fewest


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
    """Returns how to fine-tune a model on training images with these labels, by how many there are of each class.

    Args:
        labels: `(count,)`, of the training images.
        config: The model's.
        num_classes: Classes of the head.
        steps_per_epoch: Training batches an epoch.
        method: A recipe of `RECIPES`, or "auto" to have one of `FINETUNING` chosen.
        epochs: Passes over the training images; None to have it chosen.
        changes: Fields of the recipe that are decided already; `class_weights` may be "balanced".

    Raises:
        InvalidArgumentError: There is no such method, or the recipe has no such field.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> recipe = plan_finetuning(np.repeat([0, 1], 50), config, num_classes=2, steps_per_epoch=2)
        >>> recipe.name, recipe.epochs
        ('head_first', 60)
    """
    if method != "auto" and method not in RECIPES:
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
    if epochs is None and method in SCRATCH:
        epochs, reason = SCRATCH_EPOCHS, "what was measured best for the demo from random weights"
    elif epochs is None:
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
    base = RECIPES[method].unsized
    published = base(epochs=epochs, steps_per_epoch=steps_per_epoch, num_layers=config.num_layers)
    sized = _sized(published, config)
    for name, (value, why) in sized.items():
        if name not in changes:
            choices.append(Choice(name, value, why))
    numbers = {name: value for name, (value, _) in sized.items()} | changes
    recipe = published.replace(**numbers)
    choices.insert(1, Choice("epochs", recipe.epochs, reason if recipe.epochs == epochs else "the recipe's own"))
    unsaid = ("class_weights", "seed")
    choices += [Choice(name, value, "as asked") for name, value in changes.items() if name not in unsaid]
    return replace(recipe, choices=tuple(choices))


def sizing_of(name: str) -> dict[str, str]:
    """Returns which fields of a recipe go by the model and the run, each with how; nothing for those that were published.

    Args:
        name: Of a recipe.
    """
    if name not in OURS:
        return {}
    rules = {
        "learning_rate": f"at width {_WIDTH}; the wider, the lower in proportion",
        "augmentation": f"none in runs of fewer than {SELDOM} epochs",
    }
    if name in _WHOLE_MATRICES:
        rules["layer_decay"] = f"up to {_SHALLOW} blocks; {_DEEP_DECAY} for more"
        rules["weight_decay"] = f"in up to {_MEASURED_STEPS} steps; more steps want less, down to {_USUAL_WEIGHT_DECAY}"
    return rules


def _sized(recipe: Recipe, config: ViTConfig) -> dict[str, tuple[Any, str]]:
    """Returns the fields of our own recipes that go by the model's size and the run's length, each with the reason."""
    if recipe.name not in OURS:
        return {}
    measured, epochs, steps = recipe.learning_rate, recipe.epochs, recipe.epochs * recipe.steps_per_epoch
    rate = float(f"{measured * _WIDTH / config.hidden_dim:.2g}")
    why = "as measured" if config.hidden_dim == _WIDTH else f"{measured:g} was measured at width {_WIDTH}"
    sized: dict[str, tuple[Any, str]] = {
        "learning_rate": (rate, f"{why}; the wider, the lower in proportion (Yang et al. 2022, arXiv 2203.03466)")
    }
    if epochs < SELDOM:
        sized["augmentation"] = ("none", f"no image is seen more than {epochs} times, measured best unchanged")
    if recipe.name not in _WHOLE_MATRICES:
        return sized
    if config.num_layers > _SHALLOW:
        sized["layer_decay"] = (
            _DEEP_DECAY,
            f"{config.num_layers} blocks, of which the first know most (arXiv 2106.08254)",
        )
    else:
        sized["layer_decay"] = (
            recipe.layer_decay,
            f"the same rate everywhere, measured best with few blocks; these are {config.num_layers}",
        )
    if steps <= _MEASURED_STEPS:
        sized["weight_decay"] = (recipe.weight_decay, f"measured best in runs of up to {_MEASURED_STEPS} steps")
    else:
        decay = max(recipe.weight_decay * _MEASURED_STEPS / steps, _USUAL_WEIGHT_DECAY)
        sized["weight_decay"] = (
            float(f"{decay:.2g}"),
            f"{recipe.weight_decay} was measured best in {_MEASURED_STEPS} steps; more steps want less (Wang et al. 2024, arXiv "
            f"2405.13698), down to the usual {_USUAL_WEIGHT_DECAY}",
        )
    return sized


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
