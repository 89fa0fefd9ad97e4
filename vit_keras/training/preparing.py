"""A model before its first step: what a recipe does to it, in a run and by hand."""

import keras

from vit_keras.data import ImageData
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config, model_num_classes
from vit_keras.training.class_order import match_head
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.runs.random_state import random_state
from vit_keras.training.transfer.features import extract_features
from vit_keras.training.transfer.freezing import set_trainable
from vit_keras.training.transfer.linear_probe import linear_probe
from vit_keras.training.transfer.lora import add_lora
from vit_keras.zoo.rebuild import rebuild

LAST_BLOCKS = 2
"""Blocks that the method "last_blocks" trains."""
_PROBED = ("linear_probe", "head_first", "bias", "adapters")
"""Methods that begin with a head fitted to features of the model as it is."""


def prepare(model: keras.Model, recipe: Recipe, data: ImageData | None, *, probe: bool = True) -> keras.Model:
    """Returns a copy of a model that a recipe can train, not compiled: the head for the classes, frozen what does not train.

    Args:
        model: The model to begin with.
        recipe: How it is going to be trained.
        data: What it is going to be trained on; None keeps the head that is there.
        probe: Fits the head to the features where the recipe begins so; False where a checkpoint fills it.

    Raises:
        InvalidArgumentError: The method needs data, or trains no model.
    """
    if recipe.method == "nearest_neighbours":
        raise InvalidArgumentError(
            f"{recipe.name!r} trains no model: vk.training.KNNClassifier(features, labels, num_classes=...) is all of it."
        )
    probed = probe and recipe.method in _PROBED
    if probed and data is None:
        raise InvalidArgumentError(
            f"{recipe.name!r} begins with a head that is fitted to data: recipe.prepare(model, data), or make the recipe of them, "
            f"vk.recipes.{recipe.name}(model, data)."
        )
    with random_state(recipe.seed):
        student = with_new_head(model, recipe, num_classes=None if data is None else len(data.class_names))
        if data is not None:
            match_head(student, data.class_names)
        if probed and data is not None:
            train, validation = data.splits["train"], data.splits["validation"]
            found = linear_probe(
                extract_features(student, train),
                train.labels,
                extract_features(student, validation),
                validation.labels,
                num_classes=len(data.class_names),
                class_weights=recipe.class_weights,
            )
            found.apply_to(student)
        return with_frozen(student, recipe)


def with_new_head(model: keras.Model, recipe: Recipe, *, num_classes: int | None) -> keras.Model:
    """Returns a copy of a model with the stochastic depth of a recipe, and a head at zero where the classes are others; it ends in logits.

    Args:
        model: The model to begin with.
        recipe: How it is going to be trained.
        num_classes: Classes of the head; None for as many as the model has.
    """
    rate = recipe.stochastic_depth_rate
    if rate is None:
        rate = model_config(model).stochastic_depth_rate
    has_head = num_classes is not None or model_num_classes(model) is not None
    return rebuild(
        model, num_classes=num_classes, classifier_activation="linear" if has_head else None, stochastic_depth_rate=rate
    )


def with_frozen(model: keras.Model, recipe: Recipe) -> keras.Model:
    """Returns a model of which a recipe's method trains what it is to train: itself, or a copy with adapters.

    Args:
        model: With its head.
        recipe: How it is going to be trained.
    """
    if recipe.method == "adapters":
        return add_lora(model)
    set_trainable(model, _TRAINED[recipe.method], last_blocks=min(LAST_BLOCKS, model_config(model).num_layers))
    return model


_TRAINED = {
    "full": "full",
    "head_first": "full",
    "linear_probe": "head",
    "bias": "bias",
    "last_blocks": "last_blocks",
}
"""What trains under each method, by the names of `set_trainable`."""
