"""Optimizers whose learning rate and weight decay are inputs of the compiled step, so that one program trains many trials."""

from typing import Any

import keras

from vit_keras.layers.checks import Tensor
from vit_keras.training.recipes import Recipe

TRACED = ("learning_rate", "weight_decay")
"""Fields of a recipe that are inputs; a change of any other makes another program."""


class TracedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose height is a variable.

    Args:
        shape: What the learning rate is a multiple of; a schedule, or a number.
        height: The highest learning rate.
    """

    def __init__(self, shape: Any, height: keras.Variable) -> None:
        super().__init__()
        self.shape = shape
        self.height = height

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate at an optimizer step."""
        return self.height * (self.shape(step) if callable(self.shape) else self.shape)

    def get_config(self) -> dict[str, Any]:
        """Returns what it was at this moment."""
        return {"shape": self.shape, "height": float(self.height)}


class TracedOptimizer:
    """The optimizer of a recipe, for every learning rate and weight decay.

    Args:
        recipe: Says everything else.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.optimizer = recipe.changed(learning_rate=1.0).compile_arguments["optimizer"]
        self._height = keras.Variable(recipe.learning_rate, trainable=False, name="height")
        self._decay = keras.Variable(recipe.weight_decay, trainable=False, name="decay")
        rate = self.optimizer._learning_rate
        # An attribute that is a variable is the optimizer's state: JAX hands it to the step, and checkpoints hold it.
        self.optimizer.height = self._height
        self.optimizer._learning_rate = TracedSchedule(rate if callable(rate) else 1.0, self._height)
        for name in self.optimizer._decays:
            setattr(self.optimizer, name, self._decay)

    def set(self, recipe: Recipe) -> None:
        """Trains as a recipe says from now on.

        Args:
            recipe: One that differs from the first in `TRACED` at most.
        """
        self._height.assign(recipe.learning_rate)
        self._decay.assign(recipe.weight_decay)


def program_of(recipe: Recipe) -> dict[str, Any]:
    """Returns what of a recipe decides the compiled step: all but what is traced, and what is done before it.

    Args:
        recipe: Any.
    """
    fields = recipe.to_dict()
    return {
        name: value
        for name, value in fields.items()
        if name not in (*TRACED, "name", "source", "expected", "augmentation")
    }
