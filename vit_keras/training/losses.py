"""Losses that Keras does not have."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.checks import Tensor


@keras.saving.register_keras_serializable(package="vit_keras")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with whole-number labels, a part of the target spread over all classes.

    Paper: Szegedy et al. 2016, arXiv 1512.00567, section 7. Keras smooths one-hot labels only.

    Args:
        label_smoothing: Fraction of the target spread over all classes.

    Shapes:
        y_true: `(batch,)`, whole numbers.
        y_pred: `(batch, classes)`, logits.

    Example:
        >>> SmoothedCrossentropy(0.1).get_config()["label_smoothing"]
        0.1
    """

    def __init__(self, label_smoothing: float = 0.0, *, name: str = "crossentropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns one loss an image."""
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        targets = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            targets, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
