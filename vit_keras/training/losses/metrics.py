"""Metrics that Keras lacks."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor
from vit_keras.training.losses.crossentropy import are_labels


@keras.saving.register_keras_serializable(package="vit_keras")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """Top-1 accuracy for labels and for mixed targets, whose class is the one with the largest share.

    Keras decides by the first batch which of the two it gets: wrong where training has mixed targets and validation has labels.
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(fn=_is_correct, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def _is_correct(y_true: Tensor, y_pred: Tensor) -> Tensor:
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    labels = ops.reshape(y_true, (-1,)) if are_labels(y_true, y_pred.shape[-1]) else ops.argmax(y_true, axis=-1)
    return ops.cast(ops.equal(ops.cast(labels, "int32"), ops.cast(ops.argmax(y_pred, axis=-1), "int32")), "float32")
