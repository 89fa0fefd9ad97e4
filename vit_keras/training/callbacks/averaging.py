"""The average of the weights over training, which is often the better model."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError, ResumeError
from vit_keras.layers.base.checks import Tensor, check_choice, check_positive
from vit_keras.training.callbacks.moving_average import MovingAverage, moving_average
from vit_keras.validation import is_number


@keras.saving.register_keras_serializable(package="vit_keras", name="WeightAverage")
class ExponentialMovingAverage(keras.callbacks.Callback):
    """Averages the trainable weights over the steps of `fit`: `average = decay * average + (1 - decay) * weights`.

    Validation within `fit` sees the averages, training the weights, and in the end the model holds the averages. Keras'
    `use_ema` overwrites the weights whenever `fit` ends, and breaks on JAX when a model is evaluated, then trained again. A
    validation that is broken off leaves the averages in the model.

    Paper: Polyak and Juditsky 1992, doi 10.1137/0330046; the exponential form and its early decay, which soon forgets where
    training began, are those of TensorFlow's `tf.train.ExponentialMovingAverage(num_updates=...)`.

    Args:
        decay: Fraction of the average that stays at an update; the n-th, counted from 0, keeps (1 + n) / (10 + n) at most.
        every: Steps between two updates; a step is what `on_train_batch_end` is called for, so with `steps_per_execution` several.
        final: What the model holds after training, its "average" or its "weights".

    Raises:
        InvalidArgumentError: An argument is not legal.

    Example:
        >>> ExponentialMovingAverage(0.99).decay_of(0), ExponentialMovingAverage(0.99).decay_of(10_000)
        (0.1, 0.99)
    """

    def __init__(
        self, decay: float = 0.999, *, every: int = 1, final: Literal["average", "weights"] = "average"
    ) -> None:
        super().__init__()
        if not is_number(decay) or not 0 <= decay < 1:
            raise InvalidArgumentError(f"ExponentialMovingAverage: decay={decay!r} is not a fraction in [0, 1).")
        check_positive("ExponentialMovingAverage", every=every)
        check_choice("ExponentialMovingAverage", choices=("average", "weights"), final=final)
        self.decay = float(decay)
        self.every = every
        self.final = final
        self.steps = 0
        self.updates = 0
        self._average: MovingAverage | None = None
        self._own: list[Tensor] | None = None  # the weights, while the model holds the averages
        self._given: Mapping[str, Any] | None = None  # a state that came before training began

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"decay": self.decay, "every": self.every, "final": self.final}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ExponentialMovingAverage":
        """Returns a callback of these arguments."""
        return cls(**config)

    def decay_of(self, update: int) -> float:
        """Returns the fraction of the average that stays at an update.

        Args:
            update: Counted from 0.
        """
        return min(self.decay, (1 + update) / (10 + update))

    @property
    def variables(self) -> list[keras.Variable]:
        """What is averaged; nothing before training."""
        return [] if self._average is None else self._average.variables

    def arrays(self) -> list[np.ndarray]:
        """Returns the averages, in the order of `variables`."""
        return [] if self._average is None else [_array(value) for value in self._average.values()]

    def restart(self) -> None:
        """Puts the average where the model's weights are."""
        if self._average is not None:
            self._average.assign([_array(variable.value) for variable in self.variables])

    # State

    def get_state(self) -> dict[str, Any]:
        """Returns all that `set_state` needs: counts, and the averages by place and name."""
        counts = {"steps": self.steps, "updates": self.updates}
        return counts | dict(zip(self._names(), self.arrays(), strict=True))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave; before training, when training begins.

        Raises:
            ResumeError: It is the average of other variables.
        """
        self._own = None
        if self._average is None:
            self._given = state
            return
        arrays = {name: value for name, value in state.items() if name not in ("steps", "updates")}
        shapes = {name: tuple(item.shape) for name, item in zip(self._names(), self.variables, strict=True)}
        if arrays and {name: array.shape for name, array in arrays.items()} != shapes:
            raise ResumeError(
                f"The averages to go on from are of {len(arrays)} variables, and the model trains {len(shapes)}, or others: "
                f"{sorted(arrays.keys() ^ shapes.keys())[:5]}. Build and freeze the model as it was when they were taken."
            )
        if arrays:  # there is none where the state is from before training
            self._average.assign([arrays[name] for name in shapes])
        self.steps, self.updates = int(state["steps"]), int(state["updates"])

    def _names(self) -> list[str]:
        """Returns names of place and short name: paths count the models a process has built."""
        return [f"{index:04d}/{variable.name}" for index, variable in enumerate(self.variables)]

    # Callbacks

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Starts where the weights are; goes on where the same weights were trained before."""
        trained = [id(variable) for variable in self.model.trainable_variables]
        if self._average is None or trained != [id(variable) for variable in self.variables]:
            self._average = moving_average(self.model)
            self.steps = self.updates = 0
        self._own = None
        if self._given is not None:
            given, self._given = self._given, None
            self.set_state(given)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves the average."""
        self.steps += 1
        if self._average is not None and self.steps % self.every == 0:
            self._average.move(1 - self.decay_of(self.updates))
            self.updates += 1

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the averages into the model."""
        if self._average is not None and self._own is None:
            own = [ops.copy(ops.stop_gradient(variable.value)) for variable in self._variables_in_place()]
            _assign(self.variables, self._average.values())
            self._own = own

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the weights back."""
        if self._own is not None:
            own, self._own = self._own, None
            _assign(self._variables_in_place(), own)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Leaves the averages in the model, or the weights."""
        if self._average is not None and self.final == "average":
            _assign(self._variables_in_place(), self._average.values())

    def _variables_in_place(self) -> list[keras.Variable]:
        _ = self.model  # on JAX, asking for it brings the variables up to date
        return self.variables


def _assign(variables: Sequence[keras.Variable], values: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(ops.cast(value, variable.dtype))


def _array(value: Tensor) -> np.ndarray:
    """Returns a copy: what a backend shows may be memory that it gives away."""
    return np.array(ops.convert_to_numpy(value))
