"""Learning rate, weight decay and stochastic depth as inputs of the compiled step, so that one program trains many trials."""

from collections.abc import Mapping
from typing import Any

import keras

from vit_keras.layers import TransformerBlock
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.architecture import stochastic_depth_rates
from vit_keras.training.recipes import Recipe

TRACED = ("learning_rate", "weight_decay", "stochastic_depth_rate")
"""Fields of a recipe, and of a config, that are inputs; a change of any other makes another program."""
_BEFORE_THE_STEP = ("name", "source", "expected", "augmentation")


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
        self.optimizer = recipe.replace(learning_rate=1.0).compile_kwargs()["optimizer"]
        self._height = keras.Variable(recipe.learning_rate, trainable=False, name="height")
        self._decay = keras.Variable(recipe.weight_decay, trainable=False, name="decay")
        rate = self.optimizer._learning_rate
        # An attribute that is a variable is the optimizer's state: JAX hands it to the step, and checkpoints hold it.
        self.optimizer.height = self._height
        self.optimizer._learning_rate = TracedSchedule(rate if callable(rate) else 1.0, self._height)
        for name in self.optimizer.weight_decay_names:
            setattr(self.optimizer, name, self._decay)

    def set(self, recipe: Recipe) -> None:
        """Trains as a recipe says from now on.

        Args:
            recipe: One that differs from the first in `TRACED` at most.
        """
        self._height.assign(recipe.learning_rate)
        self._decay.assign(recipe.weight_decay)


class TracedStochasticDepth:
    """The stochastic depth of a model, for every rate.

    Args:
        model: A model that `vit` or `from_preset` made, whose blocks' rates become variables.
    """

    def __init__(self, model: keras.Model) -> None:
        self._blocks = [layer for layer in model.layers if isinstance(layer, TransformerBlock)]
        for block in self._blocks:
            for depth in block.depths:
                depth.trace_rate()

    def set(self, rate: float) -> None:
        """Skips so many images' branches from now on; the model's config says so, too.

        Args:
            rate: Of the last block.
        """
        for block, skipped in zip(self._blocks, stochastic_depth_rates(rate, len(self._blocks)), strict=True):
            block.stochastic_depth_rate = skipped
            for depth in block.depths:
                depth.rate.assign(skipped)


def program_of(config: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Returns what of a shape and a recipe decides the compiled step: all but what is traced, and what is done before it.

    Args:
        config: The shape, as JSON holds it.
        recipe: Any.
    """
    free = (*TRACED, *_BEFORE_THE_STEP)
    return {
        part: {name: value for name, value in fields.items() if name not in free}
        for part, fields in (("config", config), ("recipe", recipe.to_dict()))
    }
