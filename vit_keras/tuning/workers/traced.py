"""Makes learning rate, weight decay and stochastic depth variables of the compiled step, so that one program trains many trials."""

from collections.abc import Mapping
from typing import Any

import keras

from vit_keras.layers import TransformerBlock
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.architecture import stochastic_depth_rates
from vit_keras.training.recipes import Recipe

TRACED = ("learning_rate", "weight_decay", "stochastic_depth_rate")
"""Fields of a recipe or config that are variables; a change of any other needs another program."""
_BEFORE_THE_STEP = ("name", "source", "expected", "augmentation")


class TracedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose peak learning rate is a variable."""

    def __init__(self, shape: Any, height: keras.Variable) -> None:
        super().__init__()
        self.shape = shape
        self.height = height

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the learning rate at an optimizer step."""
        return self.height * (self.shape(step) if callable(self.shape) else self.shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the present configuration."""
        return {"shape": self.shape, "height": float(self.height)}


class TracedOptimizer:
    """The optimizer of a recipe, with variable learning rate and weight decay."""

    def __init__(self, recipe: Recipe) -> None:
        self.optimizer = recipe.replace(learning_rate=1.0).compile_kwargs()["optimizer"]
        self._height = keras.Variable(recipe.learning_rate, trainable=False, name="height")
        self._decay = keras.Variable(recipe.weight_decay, trainable=False, name="decay")
        rate = self.optimizer._learning_rate
        # A variable that is an attribute of the optimizer is part of its state: JAX passes it to the step, and checkpoints hold it.
        self.optimizer.height = self._height
        self.optimizer._learning_rate = TracedSchedule(rate if callable(rate) else 1.0, self._height)
        for name in self.optimizer.weight_decay_names:
            setattr(self.optimizer, name, self._decay)

    def set(self, recipe: Recipe) -> None:
        """Sets learning rate and weight decay."""
        self._height.assign(recipe.learning_rate)
        self._decay.assign(recipe.weight_decay)


class TracedStochasticDepth:
    """Variable stochastic depth rates of a model."""

    def __init__(self, model: keras.Model) -> None:
        self._blocks = [layer for layer in model.layers if isinstance(layer, TransformerBlock)]
        for block in self._blocks:
            for depth in block.depths:
                depth.trace_rate()

    def set(self, rate: float) -> None:
        """Sets the rates, in the model's config, too."""
        for block, skipped in zip(self._blocks, stochastic_depth_rates(rate, len(self._blocks)), strict=True):
            block.stochastic_depth_rate = skipped
            for depth in block.depths:
                depth.rate.assign(skipped)


def program_key(config: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Returns the fields that determine the compiled step: all but the variables and what happens before the step."""
    free = (*TRACED, *_BEFORE_THE_STEP)
    return {
        part: {name: value for name, value in fields.items() if name not in free}
        for part, fields in (("config", config), ("recipe", recipe.to_dict()))
    }
