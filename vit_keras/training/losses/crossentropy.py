"""Losses of logits that take whole-number labels and mixed targets alike, and never hide a label that is no class."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor


def are_labels(y_true: Tensor, num_classes: int) -> bool:
    """Whether these are whole-number labels, `(batch,)` or `(batch, 1)`, and not targets `(batch, classes)`.

    Args:
        y_true: What `fit` was given.
        num_classes: Width of the logits.

    Raises:
        InvalidArgumentError: They are neither.
    """
    shape = tuple(y_true.shape)
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return True
    if len(shape) == 2 and shape[1] == num_classes:
        return False
    raise InvalidArgumentError(
        f"What is to be learnt has the shape {shape}; with {num_classes} classes it has to be whole-number labels (batch,) or "
        f"targets (batch, {num_classes})."
    )


class _ClassLoss(keras.losses.Loss):
    """Targets from labels, smoothed by the loss, weighted by class.

    Args:
        label_smoothing: Fraction of the target spread over all classes.
        class_weights: One a class, by which an image's loss is multiplied; of a mixed image the mean of its classes'.
        name: The loss's name.
        **kwargs: As for `keras.losses.Loss`.
    """

    from_logits = True  # as Keras' losses say it

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        class_weights: Sequence[float] | None = None,
        name: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns one loss an image; of a label that is no class it is not a number."""
        num_classes = y_pred.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise InvalidArgumentError(f"There are {len(self.class_weights)} class_weights for {num_classes} classes.")
        if not are_labels(y_true, num_classes):
            return self._weighted(ops.cast(y_true, y_pred.dtype), y_pred)
        labels = ops.reshape(y_true, (-1,))
        # Without this TensorFlow and torch stop in the middle of a step, and JAX takes such a label for no class, at no loss.
        legal = ops.logical_and(
            ops.equal(labels, ops.floor(labels)), ops.logical_and(labels >= 0, labels < num_classes)
        )
        places = ops.cast(ops.where(legal, labels, ops.zeros_like(labels)), "int32")
        found = self._weighted(ops.one_hot(places, num_classes, dtype=y_pred.dtype), y_pred)
        return ops.where(legal, found, ops.full_like(found, float("nan")))

    def _weighted(self, targets: Tensor, logits: Tensor) -> Tensor:
        loss = self._loss(targets, logits)
        if self.class_weights is None:
            return loss
        return loss * ops.sum(targets * ops.convert_to_tensor(self.class_weights, dtype=logits.dtype), axis=-1)

    def _loss(self, targets: Tensor, logits: Tensor) -> Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="vit_keras")
class SmoothedCrossentropy(_ClassLoss):
    """Cross-entropy of logits, a part of the target spread over all classes.

    Paper: Szegedy et al. 2016, arXiv 1512.00567, section 7. Keras smooths one-hot labels only.

    Args:
        label_smoothing: Fraction of the target spread over all classes.
        class_weights: One a class, by which an image's loss is multiplied; of a mixed image the mean of its classes'.
        name: The loss's name.
        **kwargs: As for `keras.losses.Loss`.

    Shapes:
        y_true: `(batch,)`, whole numbers, or targets `(batch, classes)`, which sum to 1 an image.
        y_pred: `(batch, classes)`, logits.

    Raises:
        InvalidArgumentError: The shapes are others, or there are more or fewer weights than classes.

    Example:
        >>> SmoothedCrossentropy(0.1).get_config()["label_smoothing"]
        0.1
    """

    def __init__(self, label_smoothing: float = 0.0, *, name: str = "crossentropy", **kwargs: Any) -> None:
        super().__init__(label_smoothing, name=name, **kwargs)

    def _loss(self, targets: Tensor, logits: Tensor) -> Tensor:
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=self.label_smoothing
        )


@keras.saving.register_keras_serializable(package="vit_keras")
class BinaryCrossentropy(_ClassLoss):
    """Each class a yes or a no of its own: the mean over the classes of the cross-entropy of its logit's sigmoid.

    Papers: Wightman et al. 2021, arXiv 2110.00476; Touvron et al. 2022, DeiT III, arXiv 2204.07118. The smoothed target is timm's
    of labels: its fraction over all classes is added to each. Keras smooths to a half.

    Args:
        label_smoothing: Fraction of the target spread over all classes.
        threshold: Targets above it count as 1, others as 0, before smoothing; None to take them as they are. DeiT III has 0: both
            classes of a mixed image are there.
        class_weights: One a class, by which an image's loss is multiplied; of a mixed image the mean of its classes'.
        name: The loss's name.
        **kwargs: As for `keras.losses.Loss`.

    Shapes:
        y_true: `(batch,)`, whole numbers, or targets `(batch, classes)`.
        y_pred: `(batch, classes)`, logits.

    Raises:
        InvalidArgumentError: The shapes are others, or there are more or fewer weights than classes.

    Example:
        >>> round(float(BinaryCrossentropy()(ops.array([0]), ops.array([[0.0, 0.0]]))), 4)
        0.6931
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
