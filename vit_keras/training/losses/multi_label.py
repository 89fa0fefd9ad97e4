"""The loss and the metric of multi-label models: logits `(batch, classes)` for targets of any number of classes per image."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor


@keras.saving.register_keras_serializable(package="vit_keras")
class MultiLabelCrossentropy(keras.losses.Loss):
    """Sigmoid cross-entropy of each class's logit, averaged over the classes; targets `(batch, classes)` from 0 to 1.

    Args:
        label_smoothing: Targets are moved towards 0.5 by this fraction, as in Keras' `BinaryCrossentropy`.
        class_weights: A factor per class for the loss of the images that have it, which makes the class more likely.
    """

    from_logits = True  # as in Keras' losses

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        class_weights: Sequence[float] | None = None,
        name: str = "multi_label_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns one loss per image."""
        num_classes = y_pred.shape[-1]
        if len(y_true.shape) != 2 or y_true.shape[-1] != num_classes:
            raise InvalidArgumentError(
                f"The labels have the shape {tuple(y_true.shape)}; a multi-label model of {num_classes} classes needs 0/1 labels of shape "
                f"(batch, {num_classes})."
            )
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise InvalidArgumentError(f"There are {len(self.class_weights)} class_weights for {num_classes} classes.")
        targets = ops.cast(y_true, y_pred.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
        has, lacks = targets * ops.softplus(-y_pred), (1 - targets) * ops.softplus(y_pred)
        if self.class_weights is not None:
            has = has * ops.convert_to_tensor(self.class_weights, dtype=y_pred.dtype)
        return ops.mean(has + lacks, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="vit_keras")
class MeanAveragePrecision(keras.metrics.AUC):
    """Mean over the classes of the area under the precision-recall curve, of logits; from 200 thresholds, so approximate.

    Targets of mixed images count as positive from 0.5 on; Keras counts every target above 0.
    """

    def __init__(self, name: str = "mean_average_precision", dtype: Any = None) -> None:
        super().__init__(curve="PR", multi_label=True, from_logits=True, name=name, dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> None:
        """Adds a batch."""
        targets = ops.cast(ops.convert_to_tensor(y_true) >= 0.5, "float32")
        super().update_state(targets, ops.cast(y_pred, "float32"), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}
