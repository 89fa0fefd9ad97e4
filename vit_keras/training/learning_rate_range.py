"""A learning-rate range test: a few steps at rising rates, to see where a model learns and where it breaks."""

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from vit_keras.errors import EmptyDatasetError, InvalidArgumentError, TrainingDivergedError
from vit_keras.layers.base.checks import check_positive
from vit_keras.training.runs.random_state import torch_generators_restored
from vit_keras.validation import is_number

_BROKEN = 4.0  # times the lowest loss: what is above will not come back
_STAYS = 0.9  # of the running mean that is compared with
_WIDTH = 1 / 25  # of the range: how far around each rate its loss is smoothed


@dataclass(frozen=True, kw_only=True)
class LearningRateRange:
    """What came of a range test.

    Args:
        learning_rates: Tried, rising evenly on a logarithmic scale.
        raw_losses: Of the training batches, before each step.
        steps: How many were wanted; fewer were done where the loss broke.
    """

    learning_rates: tuple[float, ...]
    raw_losses: tuple[float, ...]
    steps: int

    @property
    def losses(self) -> tuple[float, ...]:
        """The losses smoothed over their neighbours on both sides, so that nothing is shifted to a higher rate."""
        places = np.arange(len(self.raw_losses))
        distances = (places[:, None] - places[None, :]) / (self.steps * _WIDTH)
        weights = np.exp(-0.5 * distances**2)
        return tuple((weights @ np.array(self.raw_losses) / weights.sum(axis=1)).tolist())

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss is half of its way down to its lowest point; None where it never fell.

        On a smooth curve it falls fastest there, and a noisy one hardly moves the place, as it does that of the steepest fall.
        """
        losses = np.array(self.losses)
        lowest = int(np.argmin(losses))
        above = np.flatnonzero(losses[:lowest] > (losses[0] + losses[lowest]) / 2)
        return self.learning_rates[int(above[-1]) + 1] if len(above) else None


def learning_rate_range(
    model: keras.Model,
    batches: Iterable[Any],
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
) -> LearningRateRange:
    """Trains for some steps at rising learning rates, and puts everything back: weights, seeds, optimizer, metrics.

    A new optimizer of the compiled one's arguments takes the steps, also where that has a schedule. Under gradient accumulation a
    step takes as many batches. The test ends early where the loss is no number any more, or four times its lowest.

    Paper: Smith 2017, arXiv 1506.01186, section 3.3.

    Args:
        model: Compiled, with a loss.
        batches: Of `(images, labels)` or `(images, labels, weights)`; where they are too few, they are gone through again.
        lowest: The first learning rate.
        highest: The last.
        steps: Learning rates.

    Raises:
        InvalidArgumentError: An argument is not legal, or the model is not compiled.
        EmptyDatasetError: There is no batch.
        TrainingDivergedError: The loss is no number at the lowest rate.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> found = learning_rate_range(model, [(np.ones((2, 1)), np.ones((2, 1)))], lowest=1e-3, highest=1e-1, steps=3)
        >>> [round(rate, 6) for rate in found.learning_rates], float(model.get_weights()[0][0, 0])
        ([0.001, 0.01, 0.1], 0.0)
    """
    check_positive("learning_rate_range", steps=steps)
    if not (is_number(lowest) and is_number(highest) and 0 < lowest < highest) or steps < 2:
        raise InvalidArgumentError(
            f"learning_rate_range goes in 2 steps or more from a positive rate to a higher one, not in {steps} from {lowest!r} to "
            f"{highest!r}."
        )
    if not getattr(model, "compiled", False):
        raise InvalidArgumentError(
            f"The model {model.name!r} is not compiled: call model.compile(optimizer, loss) first."
        )
    rates = np.geomspace(lowest, highest, steps).tolist()
    losses: list[float] = []
    running, least = 0.0, math.inf
    supply = _again_and_again(batches)
    first = next(supply)
    supply = itertools.chain([first], supply)
    with _everything_put_back(model) as optimizer:
        accumulated = _accumulated(optimizer)
        for step, rate in enumerate(rates, 1):
            optimizer.learning_rate = rate
            loss = float(np.mean([_loss(model, next(supply)) for _ in range(accumulated)]))
            if not math.isfinite(loss):
                break
            losses.append(loss)
            running = _STAYS * running + (1 - _STAYS) * loss
            mean = running / (1 - _STAYS**step)
            least = min(least, mean)
            if mean > _BROKEN * least:
                break
    if not losses:
        raise TrainingDivergedError(
            f"The loss of {model.name!r} is no number at a learning rate of {lowest}, before it was trained. Look at its weights, its "
            "images and its labels."
        )
    return LearningRateRange(learning_rates=tuple(rates[: len(losses)]), raw_losses=tuple(losses), steps=steps)


def _again_and_again(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise EmptyDatasetError(
                "The batches for the range test ended: give a data set or a list, which can be gone through again, with a batch in it."
            )


def _loss(model: keras.Model, batch: Any) -> float:
    # Arrays, because a batch of tf.data goes into no other backend; and one number, because each call sets metrics to zero.
    arrays = keras.tree.map_structure(lambda part: np.asarray(keras.ops.convert_to_numpy(part)), tuple(batch))
    return float(model.train_on_batch(*arrays, return_dict=True)["loss"])


def _accumulated(optimizer: keras.optimizers.Optimizer) -> int:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return int(inner.gradient_accumulation_steps or 1)


@contextmanager
def _everything_put_back(model: keras.Model) -> Iterator[keras.optimizers.Optimizer]:
    """Gives the model a new optimizer inside the block, and makes all as it was behind it, compiled functions included."""
    optimizer, function = model.optimizer, model.train_function
    variables = [*model.trainable_variables, *model.non_trainable_variables, *model.metrics_variables]
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    model.optimizer, model.train_function = _fresh(optimizer), None
    try:
        with torch_generators_restored():
            yield model.optimizer
    finally:
        model.optimizer, model.train_function = optimizer, function
        known = set(map(id, variables))
        for variable, array in zip(variables, before, strict=True):
            variable.assign(array)
        for variable in model.metrics_variables:  # made at the first batch
            if id(variable) not in known:
                variable.assign(np.zeros(variable.shape))


def _fresh(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns a new optimizer of the same arguments, with a number as its learning rate."""
    serialized = keras.optimizers.serialize(optimizer)
    config = serialized["config"]
    inner = config["inner_optimizer"]["config"] if "inner_optimizer" in config else config
    inner["learning_rate"] = 0.0
    return keras.optimizers.deserialize(serialized)
