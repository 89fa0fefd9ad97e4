"""The base of every pre-training method: a Keras model that computes its own loss from images alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from vit_keras.layers.base.checks import Tensor
from vit_keras.models.batch_parts import DividedSteps
from vit_keras.models.keras_model import build_optimizer_before_trace
from vit_keras.models.reliable_loops import ReliableLoops
from vit_keras.pretraining.base.encoder import remove_head


class PretrainingModel(DividedSteps, ReliableLoops, keras.Model):
    """An encoder and a method's own parts, trained by `fit` on images without labels.

    `compile(optimizer=...)` needs no loss, and `fit` takes batches `images` or `(images, anything)`: labels and sample weights are
    ignored. A method derives from this class, creates all its weights in `__init__`, and implements `call`. Random numbers come from a
    `keras.random.SeedGenerator` in training, so that a run resumes to the bit, and from a constant seed outside training, so that
    validation losses can be compared.

    Args:
        encoder: A vit_keras model. Without a head it is trained in place; of one with a head or own layers, a copy without these.
        tracked: Names of what `call` returns besides "loss": metrics under these names.
        untrained: Names of the encoder's layers that the loss does not depend on; they stay as they are.

    Attributes:
        encoder: The encoder, made by `vit`, without a head.

    Raises:
        InvalidArgumentError: The encoder is no vit_keras model, or its weights are quantized or all frozen.
    """

    train_function: Any

    def __init__(
        self,
        encoder: keras.Model,
        *,
        tracked: Sequence[str] = (),
        untrained: Sequence[str] = (),
        name: str = "pretraining",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.autocast = False  # pixels keep float32 until they are normalized
        self.encoder = remove_head(encoder)
        layers = [layer for layer in self.encoder.layers if layer.name in set(untrained)]
        self._untrained = frozenset(id(weight) for layer in layers for weight in layer.weights)
        self._trackers = [keras.metrics.Mean(name=each) for each in tracked]
        self._average = _Average(name="average")
        self.built = True

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Returns "loss", whose mean is minimized, and what is tracked.

        Shapes:
            images: `(batch, height, width, channels)`, pixels 0..255, uint8 or any float dtype.
            returns: Any shapes with a mean that means something, such as one number per image.
        """
        raise NotImplementedError

    def finish(self, images: Iterable[Any]) -> None:
        """Adapts the encoder after training, before it is saved; by default nothing has to be done.

        Args:
            images: Batches of training images as `fit` takes them, which can be iterated several times, such as a `tf.data.Dataset` or a list.
        """

    def describe(self) -> list[str]:
        """Returns sentences for the report of a run: what the method does, and its numbers."""
        return []

    def pictures(self, images: Any) -> Mapping[str, np.ndarray] | None:
        """Returns what the report of a run shows of images, by caption: `(batch, height, width, channels)`, uint8; None for nothing."""
        return None

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The weights that training changes."""
        return [weight for weight in super().trainable_weights if id(weight) not in self._untrained]

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables that training changes."""
        return [weight for weight in super().trainable_variables if id(weight) not in self._untrained]

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        """The other weights."""
        return self._add_untrained(super().trainable_weights, super().non_trainable_weights)

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """The other variables, with the states of random generators."""
        return self._add_untrained(super().trainable_variables, super().non_trainable_variables)

    def _add_untrained(self, trainable: list[keras.Variable], others: list[keras.Variable]) -> list[keras.Variable]:
        return [*others, *(weight for weight in trainable if id(weight) in self._untrained)]

    def make_train_function(self, force: bool = False) -> None:
        """Makes the step function of `fit`; Keras calls it."""
        if self.train_function is None or force:
            super().make_train_function(force=force)
            build_optimizer_before_trace(self)

    def compute_loss(
        self, x: Tensor = None, y: Any = None, y_pred: Any = None, sample_weight: Tensor = None, training: bool = True
    ) -> Tensor:
        """Returns the mean of what `call` returned as "loss", plus penalties of layers; Keras calls it."""
        return self._average(y_pred["loss"], y_pred["loss"]) + sum(self.losses)

    def compute_metrics(self, x: Tensor, y: Any, y_pred: Any, sample_weight: Tensor = None) -> dict[str, Any]:
        """Updates and returns the means of what is tracked; Keras calls it."""
        for tracker in self._trackers:
            tracker.update_state(y_pred[tracker.name])
        return dict(self.get_metrics_result())


class _Average(keras.losses.Loss):
    """The mean of given losses, scaled where several devices share a batch, as Keras does for its own losses."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred
