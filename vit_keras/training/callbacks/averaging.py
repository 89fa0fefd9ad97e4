"""The exponential moving average of the weights over training."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from vit_keras.distributed.arrays import to_numpy
from vit_keras.errors import InvalidArgumentError, ResumeError
from vit_keras.layers.base.checks import Tensor, check_choice, check_positive
from vit_keras.training.callbacks.moving_average import MovingAverage, start_average
from vit_keras.training.callbacks.naming import find_differences, name_variables
from vit_keras.validation import is_number


@keras.saving.register_keras_serializable(package="vit_keras", name="WeightAverage")
class ExponentialMovingAverage(keras.callbacks.Callback):
    """Averages the trainable weights over the steps of `fit`: `average = decay * average + (1 - decay) * weights`.

    Validation inside `fit` uses the averages, training the weights. After an interrupted validation the model holds the averages.
    Keras' `use_ema` overwrites the weights when `fit` ends, and fails on JAX when a model is evaluated and then trained again.

    Paper: Polyak and Juditsky 1992, doi 10.1137/0330046; the smaller decay of the first updates, which soon forgets the initial
    weights, is that of TensorFlow's `tf.train.ExponentialMovingAverage(num_updates=...)`.

    Args:
        decay: Fraction of the average that an update keeps; the n-th update, counted from 0, keeps at most (1 + n) / (10 + n).
        every: Steps between two updates, counted by `on_train_batch_end`: with `steps_per_execution`, several steps count as one.
        final: What the model holds after training, its "average" or its "weights".

    Raises:
        InvalidArgumentError: An argument is not legal.

    Example:
        >>> ExponentialMovingAverage(0.99).decay_at(0), ExponentialMovingAverage(0.99).decay_at(10_000)
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
        self._weights: list[Tensor] | None = None  # saved while the model holds the averages
        self._pending_state: Mapping[str, Any] | None = None  # set before training began

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"decay": self.decay, "every": self.every, "final": self.final}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ExponentialMovingAverage":
        """Returns the callback that `get_config` describes."""
        return cls(**config)

    def decay_at(self, update: int) -> float:
        """Returns the fraction of the average that an update, counted from 0, keeps."""
        return min(self.decay, (1 + update) / (10 + update))

    @property
    def variables(self) -> list[keras.Variable]:
        """The averaged variables; empty before training."""
        return [] if self._average is None else self._average.variables

    def arrays(self) -> list[np.ndarray]:
        """Returns the averages, in the order of `variables`."""
        return [] if self._average is None else [_copy_to_numpy(value) for value in self._average.values()]

    def restart(self) -> None:
        """Sets the averages to the model's weights."""
        if self._average is not None:
            self._average.assign([_copy_to_numpy(variable.value) for variable in self.variables])

    def get_state(self) -> dict[str, Any]:
        """Returns the counts, and the averages by index and name."""
        counts = {"steps": self.steps, "updates": self.updates}
        return counts | dict(zip(name_variables(self.variables), self.arrays(), strict=True))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `get_state` returned, now or when training begins; `ResumeError` for that of other variables."""
        self._weights = None
        if self._average is None:
            self._pending_state = state
            return
        arrays = {name: value for name, value in state.items() if name not in ("steps", "updates")}
        variables = name_variables(self.variables)
        if arrays:  # a state from before training has none
            if differences := find_differences(arrays, variables):
                raise ResumeError(
                    f"The saved averages are of {len(arrays)} variables, and the model trains {len(variables)}: "
                    f"{'; '.join(differences[:5])}. Build and freeze the model as it was when they were saved."
                )
            self._average.assign([arrays[name] for name in variables])
        self.steps, self.updates = int(state["steps"]), int(state["updates"])

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Starts at the weights, or continues if the same variables were averaged before."""
        trained = [id(variable) for variable in self.model.trainable_variables]
        if self._average is None or trained != [id(variable) for variable in self.variables]:
            self._average = start_average(self.model)
            self.steps = self.updates = 0
        self._weights = None
        if self._pending_state is not None:
            state, self._pending_state = self._pending_state, None
            self.set_state(state)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Updates the averages."""
        self.steps += 1
        if self._average is not None and self.steps % self.every == 0:
            self._average.move(1 - self.decay_at(self.updates))
            self.updates += 1

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Saves the weights and puts the averages into the model."""
        if self._average is not None and self._weights is None:
            weights = [ops.copy(ops.stop_gradient(variable.value)) for variable in self._synced_variables()]
            _assign(self.variables, self._average.values())
            self._weights = weights

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restores the weights."""
        if self._weights is not None:
            weights, self._weights = self._weights, None
            _assign(self._synced_variables(), weights)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the averages into the model, unless `final` is "weights"."""
        if self._average is not None and self.final == "average":
            _assign(self._synced_variables(), self._average.values())

    def _synced_variables(self) -> list[keras.Variable]:
        _ = self.model  # on JAX, reading it copies the weights of the last step into the variables
        return self.variables


def _assign(variables: Sequence[keras.Variable], values: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(ops.cast(value, variable.dtype))


def _copy_to_numpy(value: Tensor) -> np.ndarray:
    return np.array(to_numpy(value))  # what a backend returns may be memory that it reuses
