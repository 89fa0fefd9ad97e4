"""Prepares a model for training: a new head, a head fitted to features, frozen weights, LoRA."""

from collections.abc import Sequence

import keras
import numpy as np

from vit_keras.data import ImageData
from vit_keras.data.class_names import are_numbers, rename_classes
from vit_keras.distributed.devices import devices_in_use, one_device
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config, model_num_classes
from vit_keras.models.wiring import read_model
from vit_keras.runtime.random_state import random_state
from vit_keras.training.recipes.settings import RecipeSettings
from vit_keras.training.transfer.features import extract_features
from vit_keras.training.transfer.freezing import set_trainable
from vit_keras.training.transfer.linear_probe import linear_probe
from vit_keras.training.transfer.lora import add_lora
from vit_keras.training.transfer.row_probes import multi_label_probe, regression_probe
from vit_keras.training.transfer.target_units import append_units, without_units
from vit_keras.zoo.rebuild import rebuild

LAST_BLOCKS = 2  # of the method "last_blocks"
FITS_HEAD = ("linear_probe", "head_first", "bias", "lora")  # methods that start from a fitted head
_TRAINABLE = {"head_first": "full", "linear_probe": "head"}  # for `set_trainable`, where it is not the method's name


def prepare(
    model: keras.Model,
    data: ImageData | None,
    recipe: RecipeSettings,
    *,
    fit_head: bool = True,
) -> keras.Model:
    """Returns a copy of a model, ready to be compiled and trained; without data, its head is kept.

    The head of a regression learns scaled numbers; a layer behind it gives the user's units.
    """
    if data is not None and data.task != recipe.task:
        raise InvalidArgumentError(
            f"The recipe {recipe.name!r} is for task={recipe.task!r}, and the labels of {data.name} are {data.task}: make the recipe for "
            f"these data, vk.recipes.{recipe.name}(model, data)."
        )
    with random_state(recipe.seed):
        num_classes = None if data is None else len(data.class_names)
        model = without_units(model)
        student = copy_with_head(model, num_classes=num_classes, stochastic_depth_rate=recipe.stochastic_depth_rate)
        if data is not None:
            match_head(student, data.class_names, task=data.task)
        if recipe.task == "regression":
            student = append_units(student, mean=recipe.target_mean or (), scale=recipe.target_scale or ())
        if data is not None and fit_head and recipe.method in FITS_HEAD:
            _fit_head(student, data, recipe)
        return freeze(student, recipe.method)


def _fit_head(model: keras.Model, data: ImageData, recipe: RecipeSettings) -> None:
    """Fits the head to the features of the training images, with the penalty that is best for the validation images."""
    train, validation = data.splits["train"], data.splits["validation"]
    original = model
    if devices_in_use().needs_full_batches:
        with one_device():
            model = rebuild(original)
    features, held_out = extract_features(model, train), extract_features(model, validation)
    if recipe.task == "single_label":
        probe = linear_probe(
            features,
            train.labels,
            held_out,
            validation.labels,
            num_classes=len(data.class_names),
            class_weights=recipe.class_weights,
        )
    elif recipe.task == "multi_label":
        probe = multi_label_probe(
            features, train.labels, held_out, validation.labels, class_weights=recipe.class_weights
        )
    else:
        labels, held_out_labels = (
            (split.labels - np.asarray(recipe.target_mean)) / np.asarray(recipe.target_scale)
            for split in (train, validation)
        )
        probe = regression_probe(features, labels, held_out, held_out_labels)
    probe.apply_to(original)


def copy_with_head(
    model: keras.Model, *, num_classes: int | None, stochastic_depth_rate: float | None = None
) -> keras.Model:
    """Returns a copy of a model that ends in logits; its head is new, at zero, where the number of classes differs.

    None keeps the number of classes, or the stochastic depth rate, of the model.
    """
    if stochastic_depth_rate is None:
        stochastic_depth_rate = model_config(model).stochastic_depth_rate
    has_head = num_classes is not None or model_num_classes(model) is not None
    return rebuild(
        model,
        num_classes=num_classes,
        classifier_activation="linear" if has_head else None,
        stochastic_depth_rate=stochastic_depth_rate,
    )


def freeze(model: keras.Model, method: str) -> keras.Model:
    """Freezes what a method does not train; returns the model, or for "lora" a copy with LoRA matrices."""
    if method == "lora":
        return add_lora(model)
    last_blocks = min(LAST_BLOCKS, model_config(model).num_layers)
    set_trainable(model, _TRAINABLE.get(method, method), last_blocks=last_blocks)
    return model


def match_head(model: keras.Model, class_names: Sequence[str], *, task: str = "single_label") -> None:
    """Permutes a head to another order of the same classes, or resets it to zero where it is for other classes or another task, in place."""
    names, known = tuple(class_names), getattr(model, "class_names", None)
    known_task = getattr(model, "task", None) or "single_label"
    model.task, model.threshold = task, None
    if known_task != task:
        for layer in read_model(model).classifiers:
            for weight in layer.weights:
                weight.assign(np.zeros(weight.shape))
        model.class_names = names
        return
    if known is not None and are_numbers(names):
        return
    order = rename_classes(names, known)
    if known is not None and known != order:
        for layer in read_model(model).classifiers:
            for weight in layer.weights:
                value = keras.ops.convert_to_numpy(weight)
                if set(known) == set(order):
                    weight.assign(value[..., [known.index(name) for name in order]])
                else:
                    weight.assign(np.zeros_like(value))
    model.class_names = names
