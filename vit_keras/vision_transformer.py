"""The class of the zoo's models: a functional model whose `fit` traces a step once, and can run several in one call of the device."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras

_Step = Callable[[Any, Any], tuple[Any, Any]]


@keras.saving.register_keras_serializable(package="vit_keras")
class VisionTransformer(keras.Model):
    """A functional Keras model; on JAX `compile(steps_per_execution=...)` makes `fit` run so many steps in one call of the device.

    Keras' own loop on JAX calls the device once a step whatever `steps_per_execution` says, which for a small model on a GPU takes longer
    than the step. Here the steps are one compiled `lax.scan`: weights, optimizer, metrics and seeds go from step to step without coming
    back to the host, and are those of as many single steps. What is left at an epoch's end is done step by step.

    On TensorFlow the optimizer's variables are made before the step is traced; made while it is traced, as Keras does, they have it traced a
    second time, which for a small model is half of the wait for the first batch. Metrics that are given as objects, as recipes have them, and not
    as words have theirs already.

    Nothing else differs from `keras.Model`; for models spread over devices all of Keras' own ways are kept.

    Attributes:
        class_names: What the outputs mean, in their order, where the weights came with names; None where that is not known.
    """

    train_function: Any
    class_names: tuple[str, ...] | None = None

    def make_train_function(self, force: bool = False) -> None:
        """Makes what `fit` calls for each `steps_per_execution` steps; Keras calls it."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force=force)
        if keras.backend.backend() == "tensorflow":
            self._build_optimizer()
        alone = keras.distribution.distribution() is None
        compiled = self.jit_compile and not self.run_eagerly
        if keras.backend.backend() == "jax" and self.steps_per_execution > 1 and compiled and alone:
            self.train_function = several_steps(self.train_step, self.steps_per_execution)

    def _build_optimizer(self) -> None:
        import tensorflow as tf

        if not self.optimizer.built and not tf.distribute.has_strategy():
            self.optimizer.build(self.trainable_variables)


def several_steps(step: _Step, count: int) -> Callable[[Any, Iterator[Any]], tuple[Any, Any]]:
    """Returns a function that does so many steps in one call of the device, on batches it takes from an iterator.

    Args:
        step: State and batch in, logs and state out, as `keras.Model.train_step` on JAX.
        count: Steps of a call.
    """
    import jax

    def scanned(state: Any, batches: list[Any]) -> tuple[Any, Any]:
        def body(state: Any, batch: Any) -> tuple[Any, Any]:
            logs, state = step(state, batch)
            return state, logs

        stacked = jax.tree.map(lambda *arrays: jax.numpy.stack(arrays), *batches)
        state, logs = jax.lax.scan(body, state, stacked)
        return jax.tree.map(lambda values: values[-1], logs), state

    one, many = jax.jit(step, donate_argnums=0), jax.jit(scanned, donate_argnums=0)

    def run(state: Any, iterator: Iterator[Any]) -> tuple[Any, Any]:
        batches = list(itertools.islice(iterator, count))
        if not batches:
            raise StopIteration
        if len(batches) == count and len({_shapes(batch) for batch in batches}) == 1:
            found: tuple[Any, Any] = many(state, batches)
            return found
        for batch in batches:  # the last of an epoch
            logs, state = one(state, batch)
        return logs, state

    return run


def _shapes(batch: Any) -> tuple[Any, ...]:
    import jax

    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))
