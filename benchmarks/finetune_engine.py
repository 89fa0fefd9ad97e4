"""Fine-tunes a small Vision Transformer many times with one compiled step, whose inputs are what differs between runs.

Compiling takes as long as a run, so learning rate, weight decay, layer decay, clipping and smoothing are variables or arguments here.
`check` in `finetune.py` compares a run with `model.fit` and the package's own optimizer and loss.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import finetune_cells as cells
import keras
import numpy as np
import tensorflow as tf

import vit_keras as vk
from vit_keras.data import Augmentation, EncodedSplit, ImageData, Split
from vit_keras.data.augment.augmentation import resolve_augmentation
from vit_keras.models.vit import model_config
from vit_keras.training.optim import optimizers, schedules
from vit_keras.training.optim.layer_decay import layer_scales
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.transfer.linear_probe import linear_probe

AUGMENTATIONS = {
    **{name: resolve_augmentation(name) for name in ("none", "moved", "light", "medium")},
    "moved twice": Augmentation(rotation=10, zoom=0.2, stretch=0.1, shift=0.1, contrast=0.2, brightness=0.1),
    "cropped": Augmentation(crop_scale=(0.35, 1.0)),
}
"""The package's augmentation strengths, and others without flips."""
NO_LIMIT = 1e30  # larger than any gradient norm


@dataclass(frozen=True, kw_only=True)
class Way:
    """The hyperparameters of a run.

    Args:
        head: What the head starts from: "probe" (logistic regression on the pre-trained features), "zeros" or "glorot".
        learning_rate: The highest.
        schedule: "cosine" to zero after the warm-up, or "constant".
        warmup_rate: Fraction of the steps in which the rate rises.
        weight_decay: Per step and unit of learning rate; none on biases, norms and positions.
        layer_decay: Factor of the rate a layer, from the head down.
        clip_norm: Largest norm of the gradient, 0 for no limit.
        label_smoothing: Fraction of the target spread over all classes.
        augmentation: One of `AUGMENTATIONS`.
        stochastic_depth: Rate at the last block.
        average: Fraction of the steps that the averaged weights look back; 0 to judge the last weights.
    """

    head: str = "probe"
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    warmup_rate: float = 0.1
    weight_decay: float = 0.3
    layer_decay: float = 1.0
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    augmentation: str = "moved"
    stochastic_depth: float = 0.0
    average: float = 0.0

    def rates(self, steps: int) -> np.ndarray:
        """Returns the learning rate of each step."""
        warmup = round(self.warmup_rate * steps)
        if self.schedule == "constant":
            rising = np.minimum(1.0, np.arange(steps) / warmup) if warmup else np.ones(steps)
            return (self.learning_rate * rising).astype("float32")
        schedule = schedules.warmup_cosine(self.learning_rate, steps=steps, warmup_steps=warmup)
        return np.array([float(schedule(step)) for step in range(steps)], "float32")

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return asdict(self)

    def replace(self, **changes: Any) -> "Way":
        """Returns a copy with some fields changed."""
        return replace(self, **changes)


def way_of(recipe: Recipe) -> Way:
    """Returns the hyperparameters of a recipe, except epochs and averaging."""
    names = [name for name, augmentation in AUGMENTATIONS.items() if augmentation == recipe.augmentation]
    return Way(
        head="probe" if recipe.method == "head_first" else "zeros",
        learning_rate=recipe.learning_rate,
        schedule=recipe.schedule,
        warmup_rate=recipe.warmup_rate,
        weight_decay=recipe.weight_decay,
        layer_decay=recipe.layer_decay,
        clip_norm=recipe.clip_norm or 0.0,
        label_smoothing=recipe.label_smoothing,
        augmentation=names[0] if names else str(recipe.augmentation),
        stochastic_depth=recipe.stochastic_depth_rate or 0.0,
    )


class VariableAdamW(optimizers.AdamW):
    """AdamW whose weight decay and layer decay are variables, so that one compiled step serves all values."""

    def build(self, variables: Iterable[keras.Variable]) -> None:
        """Creates the learning rate factor of each variable."""
        variables = list(variables)
        super().build(variables)
        self.paths = [variable.path for variable in variables]
        self.factors = keras.Variable(np.ones(len(self.paths)), dtype="float32", trainable=False, name="factors")
        self.decay = keras.Variable(0.0, trainable=False, name="decay")

    def choose(self, way: Way) -> None:
        """Sets the layer decay and the weight decay of a run."""
        self.factors.assign(np.array(layer_scales(self.paths, way.layer_decay), "float32"))
        self.decay.assign(way.weight_decay)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable with its own rate."""
        super().update_step(gradient, variable, learning_rate * self.factors[self._get_variable_index(variable)])

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        for variable in variables:
            if self._use_weight_decay(variable):
                factor = self.factors[self._get_variable_index(variable)]
                variable.assign(variable - variable * self.decay * self.learning_rate * factor)


class Tuner:
    """A pre-trained backbone with a new head, which can be trained repeatedly.

    Args:
        preset: The directory of the pre-trained model.
        num_classes: Of the new head.
        stochastic_depth: Rate at the last block.
    """

    def __init__(self, preset: Path, *, num_classes: int, stochastic_depth: float = 0.0) -> None:
        self.model = vk.from_preset(preset, num_classes=num_classes, stochastic_depth_rate=stochastic_depth)
        self.config = model_config(self.model)
        variables = self.model.trainable_variables
        self.optimizer = VariableAdamW(1.0, weight_decay=0.0)
        self.optimizer.build(variables)
        self.start = [weight.numpy() for weight in self.model.weights]
        self.averages = [tf.Variable(variable.numpy()) for variable in variables]
        self.clear = [weight for weight in self.optimizer.variables if weight is not self.optimizer.learning_rate]
        # The inputs of the last layer, the head, are the features.
        self._features = keras.Model(self.model.input, self.model.get_layer("head").input)
        self._step = tf.function(self._train, jit_compile=True, reduce_retracing=True)
        self._forward = tf.function(lambda images: self.model(images, training=False), reduce_retracing=True)

    def _train(self, images: Any, targets: Any, rate: Any, clip: Any, keep: Any) -> Any:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, [variable.value for variable in variables]), clip)
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(gradients, variables)
        for average, variable in zip(self.averages, variables, strict=True):
            average.assign(keep * average + (1 - keep) * variable.value)
        return loss

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the features of the pre-trained backbone."""
        self._restore()
        found: np.ndarray = self._features.predict(images, batch_size=500, verbose=0)
        return found

    def _restore(self) -> None:
        for weight, value in zip(self.model.weights, self.start, strict=True):
            weight.assign(value)

    def reset(self, way: Way, head: tuple[np.ndarray, np.ndarray]) -> None:
        """Restores the state before the first step."""
        self._restore()
        layer = self.model.get_layer("head")
        layer.kernel.assign(head[0])
        layer.bias.assign(head[1])
        for weight in self.clear:
            weight.assign(np.zeros(weight.shape, weight.dtype))
        self.optimizer.choose(way)
        for average, variable in zip(self.averages, self.model.trainable_variables, strict=True):
            average.assign(variable.value)

    def run(self, way: Way, data: cells.Images, *, steps: int, seed: int, head: tuple[np.ndarray, np.ndarray]) -> float:
        """Trains and returns the loss of the last step."""
        self.reset(way, head)
        clip, keep = tf.constant(way.clip_norm or NO_LIMIT), tf.constant(_keep(way, steps), tf.float32)
        seen = batches(data, steps, augmentation=way.augmentation, smoothing=way.label_smoothing, seed=seed)
        loss = tf.constant(0.0)
        for (images, targets), rate in zip(seen, way.rates(steps), strict=True):
            loss = self._step(images, targets, tf.constant(rate), clip, keep)
        return float(loss)

    def right(self, data: cells.Images, *, averaged: bool) -> np.ndarray:
        """Returns which images are classified correctly by the last weights, or by their average."""
        if averaged:
            for average, variable in zip(self.averages, self.model.trainable_variables, strict=True):
                variable.assign(average)
        parts = [
            self._forward(tf.cast(data.images[at : at + 500], tf.float32)) for at in range(0, len(data.labels), 500)
        ]
        right: np.ndarray = np.concatenate([part.numpy().argmax(-1) for part in parts]) == data.labels
        return right


def _keep(way: Way, steps: int) -> float:
    return 1 - 1 / max(1.0, way.average * steps) if way.average else 0.0


def image_data(data: cells.Images, *, seed: int, held_out: cells.Images | None = None) -> ImageData:
    """Returns training and held-out images as `ImageData`; without held-out images all splits are the same."""
    train, other = (Split(part.images, part.labels.astype("int32")) for part in (data, held_out or data))
    names = tuple(f"class {index}" for index in range(int(data.labels.max()) + 1))
    splits: dict[str, Split | EncodedSplit] = {"train": train, "validation": other, "test": other}
    return ImageData(name="cell", class_names=names, splits=splits, batch_size=cells.BATCH_SIZE, seed=seed)


def batches(data: cells.Images, steps: int, *, augmentation: str, smoothing: float, seed: int) -> tf.data.Dataset:
    """Returns the package's training batches with smoothed targets, in the same order for every augmentation."""
    whole = image_data(data, seed=seed)
    classes = len(whole.class_names)

    def spread(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixed = targets if targets.shape.rank == 2 else tf.one_hot(targets, classes)
        return tf.cast(images, tf.float32), mixed * (1 - smoothing) + smoothing / classes

    epochs = -(-steps // whole.steps_per_epoch)
    return whole.training_batches(epochs=epochs, augmentation=AUGMENTATIONS[augmentation]).take(steps).map(spread)


def glorot(width: int, classes: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a head with the default initializers of Keras' `Dense`."""
    kernel = keras.initializers.GlorotUniform(seed=seed)((width, classes))
    return keras.ops.convert_to_numpy(kernel), np.zeros(classes, "float32")


def probe(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a head from logistic regression on features, whose penalty is chosen on the training images."""
    fitted = linear_probe(features, labels, num_classes=int(labels.max()) + 1)
    return fitted.kernel, fitted.bias
