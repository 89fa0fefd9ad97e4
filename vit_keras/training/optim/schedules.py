"""Learning rates over a run: a warm-up, then one of three ways on. Steps are the optimizer's."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.checks import Tensor, check_choice

SHAPES = ("cosine", "linear", "constant")
"""What a learning rate does after its warm-up: falls to zero along half a cosine or a line, or stays."""


def schedule_of(shape: str, learning_rate: float, *, steps: int, warmup_steps: int) -> Any:
    """Returns a learning rate that rises from zero for `warmup_steps`, then goes on by its shape until `steps`.

    Args:
        shape: One of `SHAPES`.
        learning_rate: The highest.
        steps: Optimizer steps in all.
        warmup_steps: Steps it rises.

    Returns:
        A Keras schedule; of a rate that never changes the number, which may be set while training.

    Raises:
        InvalidArgumentError: There is no such shape.

    Example:
        >>> float(schedule_of("linear", 1.0, steps=30, warmup_steps=10)(20))
        0.5
    """
    check_choice("schedule_of", choices=SHAPES, shape=shape)
    if shape == "cosine":
        return warmup_cosine(learning_rate, steps=steps, warmup_steps=warmup_steps)
    if shape == "linear":
        return WarmupLinear(learning_rate, warmup_steps=warmup_steps, decay_steps=max(steps - warmup_steps, 1))
    return WarmupLinear(learning_rate, warmup_steps=warmup_steps) if warmup_steps else float(learning_rate)


def warmup_cosine(learning_rate: float, *, steps: int, warmup_steps: int) -> keras.optimizers.schedules.CosineDecay:
    """Returns a learning rate that rises from zero for `warmup_steps`, then falls to zero along a cosine until `steps`.

    Args:
        learning_rate: The highest.
        steps: Optimizer steps in all.
        warmup_steps: Steps it rises.

    Example:
        >>> float(warmup_cosine(1.0, steps=100, warmup_steps=10)(10))
        1.0
    """
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(steps - warmup_steps, 1), warmup_target=learning_rate, warmup_steps=warmup_steps
    )


@keras.saving.register_keras_serializable(package="vit_keras")
class WarmupLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from zero along a line, then falls to zero along another, or stays; Keras has neither.

    Args:
        learning_rate: The highest.
        warmup_steps: Steps it rises; 0 to begin at the highest.
        decay_steps: Steps it falls; None to stay.

    Example:
        >>> [float(WarmupLinear(1.0, warmup_steps=4)(step)) for step in (0, 2, 4, 99)]
        [0.0, 0.5, 1.0, 1.0]
    """

    def __init__(self, learning_rate: float, *, warmup_steps: int, decay_steps: int | None = None) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate at an optimizer step."""
        step = ops.cast(step, "float32")
        share = ops.minimum(step / self.warmup_steps, 1.0) if self.warmup_steps else ops.ones_like(step)
        if self.decay_steps is not None:
            share = ops.minimum(share, ops.maximum(1.0 - (step - self.warmup_steps) / self.decay_steps, 0.0))
        return self.learning_rate * share

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
        }
