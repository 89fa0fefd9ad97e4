"""Cross-entropy losses of logits for integer labels and mixed targets; an invalid label gives NaN."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor


def are_labels(y_true: Tensor, num_classes: int) -> bool:
    """True for integer labels `(batch,)` or `(batch, 1)`, False for targets `(batch, classes)`; other shapes raise."""
    shape = tuple(y_true.shape)
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return True
    if len(shape) == 2 and shape[1] == num_classes:
        return False
    raise InvalidArgumentError(
        f"The labels have the shape {shape}; with {num_classes} classes, integer labels (batch,) or targets (batch, {num_classes}) "
        "are expected."
    )


class _ClassificationLoss(keras.losses.Loss):
    """Turns labels into targets, with NaN as the loss of an invalid label, and applies class weights."""

    from_logits = True  # as in Keras' losses

    def __init__(
        self, label_smoothing: float = 0.0, *, class_weights: Sequence[float] | None = None, name: str, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        num_classes = y_pred.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise InvalidArgumentError(f"There are {len(self.class_weights)} class_weights for {num_classes} classes.")
        if not are_labels(y_true, num_classes):
            return self._weighted_loss(ops.cast(y_true, y_pred.dtype), y_pred)
        labels = ops.reshape(y_true, (-1,))
        # An invalid label would crash a step on TensorFlow and torch, and add no loss on JAX.
        valid = ops.logical_and(
            ops.equal(labels, ops.floor(labels)), ops.logical_and(labels >= 0, labels < num_classes)
        )
        indices = ops.cast(ops.where(valid, labels, ops.zeros_like(labels)), "int32")
        loss = self._weighted_loss(ops.one_hot(indices, num_classes, dtype=y_pred.dtype), y_pred)
        return ops.where(valid, loss, ops.full_like(loss, float("nan")))

    def _weighted_loss(self, targets: Tensor, logits: Tensor) -> Tensor:
        loss = self._loss(targets, logits)
        if self.class_weights is None:
            return loss
        return loss * ops.sum(targets * ops.convert_to_tensor(self.class_weights, dtype=logits.dtype), axis=-1)

    def _loss(self, targets: Tensor, logits: Tensor) -> Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        config = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="vit_keras")
class SmoothedCrossentropy(_ClassificationLoss):
    """Cross-entropy of logits with label smoothing (Szegedy et al. 2016, arXiv 1512.00567, section 7); Keras smooths one-hot targets only.

    `class_weights` is one factor per class for the loss of its images; for a mixed image, the mean over its classes.
    """

    def __init__(self, label_smoothing: float = 0.0, *, name: str = "crossentropy", **kwargs: Any) -> None:
        super().__init__(label_smoothing, name=name, **kwargs)

    def _loss(self, targets: Tensor, logits: Tensor) -> Tensor:
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=self.label_smoothing
        )


@keras.saving.register_keras_serializable(package="vit_keras")
class BinaryCrossentropy(_ClassificationLoss):
    """Sigmoid cross-entropy of each class's logit, averaged over the classes.

    Papers: Wightman et al. 2021, arXiv 2110.00476; Touvron et al. 2022, DeiT III, arXiv 2204.07118. Smoothing is timm's: a fraction
    of the target is spread over all classes. Keras smooths towards 0.5. Targets above `threshold` become 1, others 0, before
    smoothing; DeiT III uses 0: both classes of a mixed image count in full.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        threshold: float | None = None,
        name: str = "binary_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(label_smoothing, name=name, **kwargs)
        self.threshold = threshold

    def _loss(self, targets: Tensor, logits: Tensor) -> Tensor:
        if self.threshold is not None:
            targets = ops.cast(targets > self.threshold, logits.dtype)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[-1]
        return keras.losses.binary_crossentropy(targets, logits, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}
