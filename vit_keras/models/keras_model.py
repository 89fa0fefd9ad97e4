"""The class of the zoo's models: a functional model whose `fit` traces a step once, and can run several in one call of the device."""

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from vit_keras.layers.pixel_normalization import PixelNormalization
from vit_keras.models.endings import find_ending, fit_loss, fit_metrics
from vit_keras.models.first_batch import look_first
from vit_keras.models.pixel_range import advice, pixel_problem

_LOOKED_AT = 8
"""Images of the first batch."""

_OF_ONE_CLASS = (
    "accuracy",
    "acc",
    "Accuracy",
    "categorical_accuracy",
    "CategoricalAccuracy",
    "TopKCategoricalAccuracy",
)
"""Metrics that compare the likeliest class."""

_log = logging.getLogger(__name__)
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

    A model that ends in logits is compiled with cross-entropies and metrics of logits, one that ends in probabilities with those of
    probabilities, whatever `compile` is given; the logger `vit_keras.models.keras_model` says so. The first batch is looked at: pixels
    that are not 0..255, and an accuracy that several classes an image make meaningless, are warned of once. Later batches cost nothing.

    Nothing else differs from `keras.Model`; for models spread over devices all of Keras' own ways are kept.

    Attributes:
        class_names: What the outputs mean, in their order, where the weights came with names; None where that is not known.
    """

    train_function: Any
    test_function: Any
    predict_function: Any
    class_names: tuple[str, ...] | None = None
    _said: frozenset[str] = frozenset()  # what was warned of already
    _one_class_metrics: tuple[str, ...] = ()

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """As in Keras; losses and metrics are made to fit logits or probabilities, whichever the model ends in."""
        ending = find_ending(self)
        if ending is not None:
            loss, changes = fit_loss(loss, ending)
            if ending == "logits":
                width = int(self.outputs[0].shape[-1])
                metrics, more = fit_metrics(metrics, num_outputs=width)
                weighted_metrics, still_more = fit_metrics(weighted_metrics, num_outputs=width)
                changes = [*changes, *more, *still_more]
            for change in changes:
                _log.warning("%s ends in %s: %s.", self.name, ending, change)
        names = [_name_of(metric) for metric in keras.tree.flatten((metrics, weighted_metrics))]
        self._note("_one_class_metrics", tuple(name for name in names if name in _OF_ONE_CLASS))
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **kwargs)

    def get_compile_config(self) -> Any:
        """Returns what `compile` was given, as Keras does; it asks for this of a class with a `compile` of its own."""
        return super().get_compile_config()

    def compile_from_config(self, config: Any) -> None:
        """Compiles as `get_compile_config` says, and makes the optimizer's state, as Keras does."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def make_test_function(self, force: bool = False) -> None:
        """Makes what `evaluate` calls; Keras calls it."""
        if self.test_function is None or force:
            super().make_test_function(force=force)
            self._look_first("test_function")

    def make_predict_function(self, force: bool = False) -> Any:
        """Makes what `predict` calls, and returns it; Keras calls it."""
        if self.predict_function is None or force:
            super().make_predict_function(force=force)
            self._look_first("predict_function")
        return self.predict_function

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
        self._look_first("train_function")

    def _look_first(self, name: str) -> None:
        """Puts in the place of a step function one that looks at the first batch, and then puts the function back."""
        function = getattr(self, name)

        def put_back() -> None:
            if getattr(self, name) is looking:
                setattr(self, name, function)

        looking = look_first(
            function, self._look, needed=self._may_tell, done=put_back, steps=self.steps_per_execution or 1
        )
        setattr(self, name, looking)

    def _may_tell(self, batch: Any) -> bool:
        """Whether there is anything to see in a batch of such shapes and dtypes that was not said yet."""
        if keras.distribution.distribution() is not None:  # a process has a part of the batch alone
            return False
        images, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
        return ("pixels" not in self._said and _is_float(images)) or (
            "targets" not in self._said and _is_of_classes(targets) and bool(self._one_class_metrics)
        )

    def _look(self, batch: Any) -> None:
        images, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
        first = self.layers[1] if len(self.layers) > 1 else None
        if _is_float(images) and isinstance(first, PixelNormalization):
            problem = pixel_problem(keras.ops.convert_to_numpy(images[:_LOOKED_AT]), pixel_std=first.std)
            if problem is not None:
                self._warn_once("pixels", advice(problem))
        metrics = self._one_class_metrics
        if metrics and _is_of_classes(targets) and _has_several_classes(keras.ops.convert_to_numpy(targets)):
            self._warn_once(
                "targets",
                f"the targets have several classes an image, or none, where {', '.join(metrics)} compares the likeliest class alone, and "
                "means nothing: use keras.metrics.BinaryAccuracy(threshold=0.0) for logits, keras.metrics.AUC(multi_label=True, "
                "from_logits=True) or keras.metrics.F1Score, and the loss binary_crossentropy.",
            )

    def _warn_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._note("_said", self._said | {what})
            _log.warning("%s: %s", self.name, text)

    def _note(self, name: str, value: Any) -> None:
        """Sets what is no part of the model: Keras tracks nothing of it."""
        object.__setattr__(self, name, value)

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


def _is_float(images: Any) -> bool:
    return len(getattr(images, "shape", None) or ()) == 4 and "float" in str(images.dtype)


def _is_of_classes(targets: Any) -> bool:
    shape = tuple(getattr(targets, "shape", None) or ())
    return len(shape) == 2 and shape[-1] not in (None, 1)


def _has_several_classes(targets: np.ndarray) -> bool:
    """Whether targets are yes and no for each class, and not one class an image, mixed or smoothed ones included."""
    return bool(np.isin(targets, (0, 1)).all() and (targets.sum(-1) != 1).any())


def _name_of(metric: Any) -> str:
    return metric if isinstance(metric, str) else type(metric).__name__
