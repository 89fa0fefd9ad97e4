"""Learning rate schedules: a linear warmup, then a cosine, linear or constant rate. Steps are optimizer steps."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor, check_choice

SHAPES = ("cosine", "linear", "constant")
"""The learning rate after its warmup: it decays to zero along half a cosine or a line, or stays."""


def make_schedule(shape: str, learning_rate: float, *, steps: int, warmup_steps: int) -> Any:
    """Returns a schedule that rises from zero to `learning_rate` over `warmup_steps`, then follows one of `SHAPES` until `steps`.

    Where the rate never changes it is a float, so that it can be set while training.
    """
    check_choice("make_schedule", choices=SHAPES, shape=shape)
    if shape == "cosine":
        return warmup_cosine(learning_rate, steps=steps, warmup_steps=warmup_steps)
    if shape == "linear":
        return WarmupLinear(learning_rate, warmup_steps=warmup_steps, decay_steps=max(steps - warmup_steps, 1))
    return WarmupLinear(learning_rate, warmup_steps=warmup_steps) if warmup_steps else float(learning_rate)


def warmup_cosine(learning_rate: float, *, steps: int, warmup_steps: int) -> keras.optimizers.schedules.CosineDecay:
    """Returns a schedule that rises from zero to `learning_rate`, then decays to zero along half a cosine until `steps`."""
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(steps - warmup_steps, 1), warmup_target=learning_rate, warmup_steps=warmup_steps
    )


@keras.saving.register_keras_serializable(package="vit_keras")
class WarmupLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warmup from zero, then a linear decay to zero, or a constant rate without `decay_steps`; Keras has neither."""

    def __init__(self, learning_rate: float, *, warmup_steps: int, decay_steps: int | None = None) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the learning rate at an optimizer step."""
        step = ops.cast(step, "float32")
        factor = ops.minimum(step / self.warmup_steps, 1.0) if self.warmup_steps else ops.ones_like(step)
        if self.decay_steps is not None:
            factor = ops.minimum(factor, ops.maximum(1.0 - (step - self.warmup_steps) / self.decay_steps, 0.0))
        return self.learning_rate * factor

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps, "decay_steps": self.decay_steps}
