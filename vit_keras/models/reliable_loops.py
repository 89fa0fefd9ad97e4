"""Keras' `fit`, `evaluate` and `predict` without the faults they have on JAX and on several devices."""

from collections import deque
from collections.abc import Callable
from functools import cached_property, wraps
from itertools import chain
from typing import Any

import keras

from vit_keras.distributed.uneven_batches import allow_uneven_batches, replicate
from vit_keras.distributed.unsupported import check_loop

_NAMES = {
    2: ("trainable_variables", "non_trainable_variables"),
    3: ("trainable_variables", "non_trainable_variables", "metrics_variables"),
    4: ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables"),
}
"""What Keras' state of a step consists of, by its length: that of `predict`, `evaluate` and `fit`."""

_Step = Callable[[Any, Any], tuple[Any, Any]]


def _make_reliable(name: str) -> Callable[..., Any]:
    """Returns Keras' method of this name without the faults that `ReliableLoops` lists."""

    @wraps(getattr(keras.Model, name))
    def run(self: "ReliableLoops", *args: Any, **kwargs: Any) -> Any:
        check_loop(self, name)
        method = getattr(super(ReliableLoops, self), name)
        if keras.backend.backend() != "jax":
            return method(*args, **kwargs)
        try:
            with allow_uneven_batches():
                return method(*args, **kwargs)
        finally:
            if self._kept:
                self.jax_state_sync()

    return run


class ReliableLoops:
    """Mends Keras' loops over batches; a mixin before `keras.Model`.

    - After an exception or Ctrl-C the model has its weights. On JAX, Keras moves them out of the model while a loop runs, and each step
      overwrites the memory of the weights that it was given; it puts them back only in `fit`, and not if the first batch fails.
    - Under a distribution on JAX, batches that the devices can't share equally are computed whole by each device; Keras raises an error.
    - In several processes on JAX, `predict` returns all rows in each process; Keras raises an error.
    - Where Keras would train another model in each process, or fail, a `ClusterError` says what to do.
    """

    _jax_state: Any
    _jax_state_synced: bool

    fit = _make_reliable("fit")
    evaluate = _make_reliable("evaluate")
    predict = _make_reliable("predict")
    train_on_batch = _make_reliable("train_on_batch")
    test_on_batch = _make_reliable("test_on_batch")
    predict_on_batch = _make_reliable("predict_on_batch")

    def predict_step(self, *args: Any) -> Any:
        """Predicts a batch as Keras does; Keras calls it."""
        result = super().predict_step(*args)  # type: ignore[misc]
        if keras.backend.backend() != "jax":
            return result
        outputs, state = result
        return replicate(outputs), state

    def jax_state_sync(self) -> None:
        """Puts the state after the last finished step into the model's variables; Keras calls it."""
        if self._kept:
            outputs, state = self._kept[0]
            is_newest = outputs is not None or self._jax_state is None
            is_lost = any(array.is_deleted() for array in chain.from_iterable(state))  # a step failed on the device
            if is_newest and not is_lost:
                self._jax_state = dict(zip(_NAMES[len(state)], state, strict=True))
                self._jax_state_synced = False
        super().jax_state_sync()  # type: ignore[misc]
        self._kept.clear()

    def keep_state(self, step: _Step) -> _Step:
        """Returns a compiled step of JAX, of state and data to outputs and state, that keeps the state when it is interrupted."""

        def kept_step(state: Any, data: Any) -> tuple[Any, Any]:
            self._kept.append((None, state))
            # A single call of C: no signal handler runs between the end of the step, which overwrote the state, and its keeping.
            self._kept.extend(map(step, (state,), (data,)))
            return self._kept[0]

        return kept_step

    @cached_property
    def _kept(self) -> deque[tuple[Any, Any]]:
        """Outputs and state of the last finished step of a loop, while the variables lack it; None for outputs before the first step."""
        return deque(maxlen=1)

    def _get_jax_state(self, purge_model_variables: bool = False, **which: bool) -> Any:
        state = super()._get_jax_state(purge_model_variables=False, **which)  # type: ignore[misc]
        self._jax_state = None  # of an earlier loop
        self._kept.append((None, state))
        if purge_model_variables:
            self._purge_model_variables(**which)  # type: ignore[attr-defined]
        return state

    def _make_function(self, step_function: Any, **options: Any) -> Any:
        step = self.keep_state(step_function) if keras.backend.backend() == "jax" else step_function
        return super()._make_function(step, **options)  # type: ignore[misc]
