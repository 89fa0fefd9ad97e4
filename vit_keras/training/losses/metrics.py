"""Metrics that Keras does not have."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor
from vit_keras.training.losses.crossentropy import are_labels


@keras.saving.register_keras_serializable(package="vit_keras")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """The fraction of the images whose likeliest class is right, or, of a mixed image, the class it has most of.

    Keras decides by the first batch it sees whether "accuracy" is of labels or of targets; trained on mixed targets and validated
    on labels, it would be wrong for one of the two.

    Args:
        name: The metric's name.
        dtype: What it counts in.

    Shapes:
        y_true: `(batch,)`, whole numbers, or targets `(batch, classes)`.
        y_pred: `(batch, classes)`, logits or probabilities.

    Raises:
        InvalidArgumentError: The shapes are others.

    Example:
        >>> metric = Accuracy()
        >>> metric.update_state(ops.array([0, 1]), ops.array([[0.9, 0.1], [0.8, 0.2]]))
        >>> float(metric.result())
        0.5
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(fn=_right, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def _right(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Returns 1 or 0 an image."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    labels = ops.reshape(y_true, (-1,)) if are_labels(y_true, y_pred.shape[-1]) else ops.argmax(y_true, axis=-1)
    return ops.cast(ops.equal(ops.cast(labels, "int32"), ops.cast(ops.argmax(y_pred, axis=-1), "int32")), "float32")
