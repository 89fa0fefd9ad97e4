"""The loss and the metrics of regression models: predictions `(batch, targets)` in the user's units."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor, check_choice

KINDS = ("mean_squared_error", "mean_absolute_error", "huber")


@keras.saving.register_keras_serializable(package="vit_keras")
class ScaledError(keras.losses.Loss):
    """Error of predictions divided by the scale of each target, averaged over the targets, so that units have no effect.

    Args:
        kind: "mean_squared_error", "mean_absolute_error", or "huber": squared up to one scale, absolute beyond.
        scale: Per target, about its standard deviation; None for 1.
    """

    def __init__(
        self,
        kind: str = "mean_squared_error",
        *,
        scale: Sequence[float] | None = None,
        name: str = "scaled_error",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_choice("ScaledError", choices=KINDS, kind=kind)
        self.kind = kind
        self.scale = None if scale is None else [float(value) for value in scale]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns one loss per image."""
        count = y_pred.shape[-1]
        if len(y_true.shape) == 1 and count == 1:
            y_true = ops.expand_dims(y_true, -1)
        if len(y_true.shape) != 2 or y_true.shape[-1] != count:
            raise InvalidArgumentError(
                f"The labels have the shape {tuple(y_true.shape)}; a regression of {count} targets needs (batch, {count})."
            )
        error = y_pred - ops.cast(y_true, y_pred.dtype)
        if self.scale is not None:
            error = error / ops.convert_to_tensor(self.scale, dtype=y_pred.dtype)
        size = ops.abs(error)
        if self.kind == "mean_squared_error":
            size = ops.square(error)
        elif self.kind == "huber":
            size = ops.where(size <= 1, ops.square(error) / 2, size - 0.5)
        return ops.mean(size, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "kind": self.kind, "scale": self.scale}


@keras.saving.register_keras_serializable(package="vit_keras")
class R2(keras.metrics.Metric):
    """Coefficient of determination, averaged over the targets: 1 is perfect, 0 as good as their mean.

    Keras' `R2Score` sums squares in float32, which fails where the mean is large compared with the spread: so numbers are first shifted and
    scaled by those of the training labels.
    """

    def __init__(self, mean: Sequence[float], scale: Sequence[float], name: str = "r2", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.mean, self.scale = [float(value) for value in mean], [float(value) for value in scale]
        shape = (len(self.mean),)
        self.sums = self.add_weight(shape=shape, initializer="zeros", name="sums")
        self.squares = self.add_weight(shape=shape, initializer="zeros", name="squares")
        self.errors = self.add_weight(shape=shape, initializer="zeros", name="errors")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> None:
        """Adds a batch; sample weights are ignored."""
        scale = ops.convert_to_tensor(self.scale, dtype="float32")
        y_true, y_pred = (ops.reshape(ops.cast(each, "float32"), (-1, len(self.mean))) for each in (y_true, y_pred))
        numbers = (y_true - ops.convert_to_tensor(self.mean, dtype="float32")) / scale
        self.sums.assign_add(ops.sum(numbers, axis=0))
        self.squares.assign_add(ops.sum(ops.square(numbers), axis=0))
        self.errors.assign_add(ops.sum(ops.square((y_pred - y_true) / scale), axis=0))
        self.count.assign_add(ops.cast(ops.shape(y_true)[0], "float32"))

    def result(self) -> Tensor:
        """Returns the mean over the targets."""
        spread = self.squares - ops.square(self.sums) / ops.maximum(self.count, 1.0)
        return ops.mean(1 - self.errors / ops.maximum(spread, keras.config.epsilon()))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"mean": self.mean, "scale": self.scale, "name": self.name, "dtype": self.dtype}
