"""Makes the optimizer, the loss, the metric and the callbacks of a recipe."""

from typing import Any

import keras

from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.best_weights import RestoreBestWeights
from vit_keras.training.losses.crossentropy import BinaryCrossentropy, SmoothedCrossentropy
from vit_keras.training.losses.metrics import Accuracy
from vit_keras.training.losses.multi_label import MeanAveragePrecision, MultiLabelCrossentropy
from vit_keras.training.losses.regression import R2, ScaledError
from vit_keras.training.optim import optimizers
from vit_keras.training.optim.schedules import make_schedule
from vit_keras.training.recipes.optimization import OptimizationSettings
from vit_keras.training.recipes.settings import RecipeSettings

_LOSSES = {"crossentropy": SmoothedCrossentropy, "binary_crossentropy": BinaryCrossentropy}
_OPTIMIZERS = {
    "adamw": optimizers.AdamW,
    "muon": optimizers.Muon,
    "lion": optimizers.Lion,
    "lamb": optimizers.Lamb,
    "sgd": optimizers.SGD,
}


def make_compile_kwargs(recipe: RecipeSettings) -> dict[str, Any]:
    """Returns a new optimizer, loss and metrics for `model.compile`."""
    return {"optimizer": make_optimizer(recipe), **_make_loss_and_metrics(recipe)}


def make_optimizer(recipe: OptimizationSettings) -> keras.optimizers.Optimizer:
    """Returns a new optimizer with the recipe's schedule."""
    steps = recipe.optimizer_steps
    warmup_steps = round(recipe.warmup_rate * steps)
    schedule = make_schedule(recipe.schedule, recipe.learning_rate, steps=steps, warmup_steps=warmup_steps)
    if recipe.optimizer == "sgd":
        moments = {"momentum": recipe.momentum}
    elif recipe.optimizer == "lion":
        moments = {}  # Lion's beta_2 does not decay a second moment: the paper's value is kept
    else:
        moments = {"beta_2": recipe.beta_2}
    return _OPTIMIZERS[recipe.optimizer](
        schedule,
        weight_decay=recipe.weight_decay,
        layer_decay=recipe.layer_decay,
        global_clipnorm=recipe.clip_norm,
        gradient_accumulation_steps=recipe.accumulation if recipe.accumulation > 1 else None,
        **moments,
    )


def _make_loss_and_metrics(recipe: RecipeSettings) -> dict[str, Any]:
    """Returns the loss, and the metric by which epochs are compared first."""
    if recipe.task == "multi_label":
        loss = MultiLabelCrossentropy(recipe.label_smoothing, class_weights=recipe.class_weights)
        return {"loss": loss, "metrics": [MeanAveragePrecision()]}
    if recipe.task == "regression":
        mean, scale = recipe.target_mean or (), recipe.target_scale or ()
        metrics = [R2(mean, scale)]
        if len(scale) == 1:  # the mean over several targets has no unit
            metrics.append(keras.metrics.MeanAbsoluteError(name="mean_absolute_error"))
        return {"loss": ScaledError(recipe.loss, scale=scale), "metrics": metrics}
    loss = _LOSSES[recipe.loss](recipe.label_smoothing, class_weights=recipe.class_weights)
    return {"loss": loss, "metrics": [Accuracy()]}


def make_weight_callbacks(recipe: OptimizationSettings) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that decide which weights are kept: the moving average and the best epoch."""
    average = None if recipe.average_decay is None else ExponentialMovingAverage(recipe.average_decay)
    best = None if recipe.patience is None else RestoreBestWeights(patience=recipe.patience, average=average)
    return [callback for callback in (average, best) if callback is not None]
