"""Adapts a published recipe to a model, a data set and the length of the run, with the reason for each value."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.entry import RecipeEntry
from vit_keras.training.recipes.recipe import Choice, Recipe
from vit_keras.validation import FrozenConfig

if TYPE_CHECKING:
    import keras
    import numpy as np

    from vit_keras.data import ImageData

STEPS = 400  # training steps that a fine-tuning run aims at, within the limits of `EPOCHS`
EPOCHS = (5, 60)
FEW_EPOCHS = 8  # below this number of epochs, no augmentation: it takes longer to pay off
FEW_FOR_SCRATCH = 2000  # training images, below which fine-tuning is suggested
SCRATCH_EPOCHS = 50  # default for recipes that start from random weights
_WIDTH = 128  # of the models in benchmarks/finetune.py
_SHALLOW, _DEEP_DECAY = 6, 0.75
_MEASURED_STEPS, _USUAL_WEIGHT_DECAY = 400, 0.05
_USUAL_BATCH = 64  # images, below which the batch size is explained
_IMBALANCED = 3  # ratio of the largest class to the smallest
_LONG_TAIL = 100  # likewise
_WEIGHT_POWERS = {"balanced": 1.0, "square_root": 0.5}
_NOT_LISTED = ("class_weights", "seed")

RULES = {
    "learning_rate": f"at width {_WIDTH}; the wider, the lower in proportion",
    "augmentation": f"none in runs of fewer than {FEW_EPOCHS} epochs",
    "layer_decay": f"up to {_SHALLOW} blocks; {_DEEP_DECAY} for more",
    "weight_decay": f"in up to {_MEASURED_STEPS} steps; more steps want less, down to {_USUAL_WEIGHT_DECAY}",
}
"""How each field that a recipe may list as `sized` depends on the model and the run."""


def fit_to_data(
    published: RecipeEntry,
    model: "keras.Model",
    data: "ImageData",
    *,
    epochs: int | None = None,
    changes: Mapping[str, Any] | None = None,
    reason: str = "as asked",
) -> Recipe:
    """Returns a recipe for a model and data, with what it does to the model's head among the choices."""
    from vit_keras.models.vit import model_config
    from vit_keras.training.recipes.model_choices import list_model_choices

    count = len(data.splits["train"])
    data = replace(data, batch_size=min(data.batch_size, count))
    recipe = fit_to_labels(
        published,
        data.splits["train"].labels,
        model_config(model),
        num_classes=len(data.class_names),
        steps_per_epoch=data.steps_per_epoch,
        epochs=epochs,
        changes={"seed": data.seed, **(changes or {})},
        reason=reason,
    )
    pretrained = published.initial_weights == "pretrained"
    choices = list_model_choices(model, data.class_names, task=data.task, expects_pretrained=pretrained)
    choices += _explain_batch_size(data)
    if not pretrained:
        choices += _suggest_finetuning(count)
    return replace(recipe, choices=(*recipe.choices, *choices), data=data)


def fit_to_labels(
    published: RecipeEntry,
    labels: "np.ndarray",
    config: ViTConfig,
    *,
    num_classes: int,
    steps_per_epoch: int,
    epochs: int | None = None,
    changes: Mapping[str, Any] | None = None,
    reason: str = "as asked",
) -> Recipe:
    """Returns a recipe for a model's config and the labels of the training images."""
    # Here, so that lists of recipes do not import numpy.
    from vit_keras.training.recipes.task_fields import balance_columns, count_labels, find_task_fields, list_choices

    counts, changes = count_labels(labels, num_classes), dict(changes or {})
    epochs_reason = "as asked"
    if epochs is None and published.initial_weights == "random":
        epochs, epochs_reason = SCRATCH_EPOCHS, "measured best for the demo from random weights"
    elif epochs is None:
        epochs = min(max(-(-STEPS // steps_per_epoch), EPOCHS[0]), EPOCHS[1])
        epochs_reason = f"{epochs * steps_per_epoch} steps of {steps_per_epoch} per epoch"
    word = changes.get("class_weights")
    if isinstance(word, str):
        if word not in _WEIGHT_POWERS:
            raise InvalidArgumentError(
                f"class_weights must be {' or '.join(map(repr, _WEIGHT_POWERS))}, or a number per class, got {word!r}."
            )
        power = _WEIGHT_POWERS[word]
        changes["class_weights"] = (
            balance_classes(counts, power=power)
            if labels.ndim == 1
            else tuple(weight**power for weight in balance_columns(labels))
        )
        class_choice = [Choice("class_weights", word, "as asked")]
    else:
        class_choice = _warn_of_imbalance(counts) if word is None and labels.dtype.kind != "f" else []
    recipe = published.unsized(epochs=epochs, steps_per_epoch=steps_per_epoch, num_layers=config.num_layers)
    sized = {name: value for name, value in _size_fields(published, recipe, config).items() if name not in changes}
    recipe = recipe.replace(**{name: value for name, (value, _) in sized.items()})
    of_task = {name: value for name, value in find_task_fields(recipe, labels).items() if name not in changes}
    recipe = recipe.replace(**{name: value for name, (value, _) in of_task.items()}, **changes)
    if recipe.epochs != epochs:
        epochs_reason = "the recipe's own"
    return replace(
        recipe,
        choices=(
            Choice("method", published.name, reason),
            Choice("epochs", recipe.epochs, epochs_reason),
            *class_choice,
            *(Choice(name, value, why) for name, (value, why) in sized.items() if name not in of_task),
            *list_choices(of_task),
            *(Choice(name, _plain(value), "as asked") for name, value in changes.items() if name not in _NOT_LISTED),
        ),
    )


def _plain(value: Any) -> Any:
    """Returns a value as `run.json` can hold it."""
    return value.to_dict() if isinstance(value, FrozenConfig) else value


def _explain_batch_size(data: "ImageData") -> list[Choice]:
    from vit_keras.data.dataset.image_data import choose_batch_size

    count, size = len(data.splits["train"]), data.batch_size
    if size >= _USUAL_BATCH or size != choose_batch_size(count, largest=_USUAL_BATCH):
        return []
    steps = f"{data.steps_per_epoch} step{'' if data.steps_per_epoch == 1 else 's'} per epoch"
    return [Choice("batch_size", size, f"{steps} of {count:,} training images; larger batches make too few")]


def _suggest_finetuning(count: int) -> list[Choice]:
    if count >= FEW_FOR_SCRATCH:
        return []
    reason = (
        f"{count:,} training images are few to start from random weights: `vit-keras finetune` starts from pretrained ones and usually gets "
        "further (`vit-keras list` shows models with weights)"
    )
    return [Choice("weights", "random", reason)]


def _warn_of_imbalance(counts: "np.ndarray") -> list[Choice]:
    most, fewest = counts.max(), counts.min()
    if not fewest or most <= _IMBALANCED * fewest:
        return []
    way = 'class_weights="balanced" gives each class the same weight'
    if most > _LONG_TAIL * fewest:  # the same weight would make a few images outweigh all others
        way = 'class_weights="square_root" gives rare classes more weight, "balanced" all classes the same'
    reason = f"{most} image{'' if most == 1 else 's'} of one class and {fewest} of another: {way}"
    return [Choice("class_weights", None, reason)]


def _size_fields(published: RecipeEntry, recipe: Recipe, config: ViTConfig) -> dict[str, tuple[Any, str]]:
    """Returns a value and its reason for each of the recipe's `sized` fields that the model or the run decides."""
    sizes = {
        "learning_rate": _size_learning_rate(recipe, config),
        "augmentation": _size_augmentation(recipe),
        "layer_decay": _size_layer_decay(recipe, config),
        "weight_decay": _size_weight_decay(recipe),
    }
    return {name: size for name in published.sized if (size := sizes[name]) is not None}


def _size_learning_rate(recipe: Recipe, config: ViTConfig) -> tuple[Any, str]:
    measured = recipe.learning_rate
    why = "as measured" if config.hidden_dim == _WIDTH else f"{measured:g} was measured at width {_WIDTH}"
    rate = float(f"{measured * _WIDTH / config.hidden_dim:.2g}")
    return rate, f"{why}; the wider, the lower in proportion (Yang et al. 2022, arXiv 2203.03466)"


def _size_augmentation(recipe: Recipe) -> tuple[Any, str] | None:
    if recipe.epochs >= FEW_EPOCHS:
        return None
    times = "once" if recipe.epochs == 1 else f"{recipe.epochs} times"
    return "none", f"each image is seen only {times}; no augmentation measured best"


def _size_layer_decay(recipe: Recipe, config: ViTConfig) -> tuple[Any, str]:
    if config.num_layers > _SHALLOW:
        return _DEEP_DECAY, f"{config.num_layers} blocks, the first of which are the most general (arXiv 2106.08254)"
    return recipe.layer_decay, f"the same rate in all layers measured best for few blocks, here {config.num_layers}"


def _size_weight_decay(recipe: Recipe) -> tuple[Any, str]:
    measured, steps = recipe.weight_decay, recipe.epochs * recipe.steps_per_epoch
    if steps <= _MEASURED_STEPS:
        return measured, f"measured best in runs of up to {_MEASURED_STEPS} steps"
    decay = max(measured * _MEASURED_STEPS / steps, _USUAL_WEIGHT_DECAY)
    return float(f"{decay:.2g}"), (
        f"{measured} was measured best in {_MEASURED_STEPS} steps; more steps want less (Wang et al. 2024, arXiv 2405.13698), down to "
        f"the usual {_USUAL_WEIGHT_DECAY}"
    )


def balance_classes(counts: "np.ndarray", *, power: float = 1.0) -> tuple[float, ...]:
    """Returns class weights, 1 on average over the images: 1 over the number of images of a class, to a power.

    With the power 1 every class has the same total weight. With 0.5, one class of 5,000 images and one of 50 have weights 1 to 10
    (square root, as in Mahajan et al. 2018, arXiv 1805.00932, section 2.2).

    Example:
        >>> import numpy as np
        >>> balance_classes(np.array([60, 20])), balance_classes(np.array([9, 1]), power=0.5)
        ((0.6666666666666666, 2.0), (0.8333333333333334, 2.5))
    """
    present = counts[counts > 0].astype("float64")
    scale = (present ** (1 - power)).sum()
    return tuple(float(counts.sum() / (scale * count**power)) if count else 1.0 for count in counts.tolist())
