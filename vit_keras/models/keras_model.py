"""The model class of vit_keras: a functional Keras model with a faster `fit` on JAX and TensorFlow, and warnings."""

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from vit_keras.distributed.saving import gather_weights
from vit_keras.layers.kernels.local_graph import local_graph
from vit_keras.layers.pixel_normalization import PixelNormalization
from vit_keras.models.batch_parts import DividedSteps, run_layers_in_parts
from vit_keras.models.first_batch import check_first
from vit_keras.models.output_kind import adapt_loss, adapt_metrics, find_output_kind
from vit_keras.models.pixel_range import find_pixel_problem
from vit_keras.models.reliable_loops import ReliableLoops

_NUM_CHECKED = 8  # images of the first batch

_SINGLE_LABEL_METRICS = (
    "accuracy", "acc", "Accuracy", "categorical_accuracy", "CategoricalAccuracy", "TopKCategoricalAccuracy",
)  # fmt: skip

_ABOUT_OUTPUTS = ("class_names", "task", "threshold")
_log = logging.getLogger(__name__)
_Step = Callable[[Any, Any], tuple[Any, Any]]


@keras.saving.register_keras_serializable(package="vit_keras")
class VisionTransformer(DividedSteps, ReliableLoops, keras.Model):
    """A functional Keras model whose `fit` is faster on JAX and TensorFlow, and which warns of common mistakes.

    On JAX, `compile(steps_per_execution=n)` runs n steps in one call of the device, as one compiled `lax.scan`; Keras calls the
    device once per step, which for a small model on a GPU takes longer than the step. The results are those of single steps.

    On TensorFlow, a step computes parts of the batch at the same time where each operation has one core: runs of vit_keras choose so on
    2 to 4 cores. The optimizer's variables are created before the step is traced. Keras creates them during the trace, and then
    traces again.

    `compile` adapts cross-entropies and metrics to logits or probabilities, whichever the model ends in, and logs what it
    changed. The first batch is checked: pixels that are not 0..255, and a single-label accuracy of multi-label targets, are
    logged once.

    After an exception or Ctrl-C inside `fit`, `evaluate` or `predict` the model has its weights, on JAX too.

    Nothing else differs from `keras.Model`. Models that are distributed over devices get Keras' own steps.

    Attributes:
        class_names: Names of the classes in the order of the outputs, of a regression those of its targets, if the weights came with
            names; else None.
        task: "single_label", "multi_label" or "regression", if it is known; else None.
        threshold: Of a multi-label model: the probability from which on an image has a class, chosen on validation images; else None.
    """

    train_function: Any
    test_function: Any
    predict_function: Any
    class_names: tuple[str, ...] | None = None
    task: str | None = None
    threshold: float | None = None
    _warned: frozenset[str] = frozenset()
    _single_label_metrics: tuple[str, ...] = ()

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Compiles as Keras does, with losses and metrics adapted to logits or probabilities, whichever the model ends in."""
        kind = find_output_kind(self)
        if kind is not None:
            loss, changes = adapt_loss(loss, kind)
            if kind == "logits":
                num_outputs = int(self.outputs[0].shape[-1])
                metrics, of_metrics = adapt_metrics(metrics, num_outputs=num_outputs)
                weighted_metrics, of_weighted = adapt_metrics(weighted_metrics, num_outputs=num_outputs)
                changes = [*changes, *of_metrics, *of_weighted]
            for change in changes:
                _log.warning("%s ends in %s: %s.", self.name, kind, change)
        given = keras.tree.flatten((metrics, weighted_metrics))
        names = [metric if isinstance(metric, str) else type(metric).__name__ for metric in given]
        self._set_untracked("_single_label_metrics", tuple(name for name in names if name in _SINGLE_LABEL_METRICS))
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **kwargs)

    def get_config(self) -> Any:
        """Returns the layers as Keras does, with class names, task and threshold where they are known."""
        known = {name: getattr(self, name) for name in _ABOUT_OUTPUTS if getattr(self, name) is not None}
        return {**super().get_config(), **known}

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None) -> "VisionTransformer":
        """Returns the model that `get_config` describes."""
        layers = {name: value for name, value in config.items() if name not in _ABOUT_OUTPUTS}
        model: VisionTransformer = super().from_config(layers, custom_objects=custom_objects)
        names, task, threshold = (config.get(name) for name in _ABOUT_OUTPUTS)
        model.class_names = None if names is None else tuple(map(str, names))
        model.task = task if isinstance(task, str) else None
        model.threshold = float(threshold) if isinstance(threshold, int | float) else None
        return model

    def get_compile_config(self) -> Any:
        """Returns the arguments of `compile`; Keras asks this of a class with its own `compile`."""
        return super().get_compile_config()

    def compile_from_config(self, config: Any) -> None:
        """Compiles as `get_compile_config` says, and creates the optimizer's state, as Keras does."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def test_step(self, *arguments: Any) -> Any:
        """Evaluates one batch as Keras does; its graph is never exported."""
        with local_graph():
            return super().test_step(*arguments)

    def predict_step(self, *arguments: Any) -> Any:
        """Predicts one batch as Keras does; its graph is never exported."""
        with local_graph():
            return super().predict_step(*arguments)

    def _run_through_graph(self, inputs: Any, operation_fn: Any = None, call_fn: Any = None) -> Any:
        """Runs the layers; Keras calls it."""
        run = super()._run_through_graph
        if call_fn is not None or operation_fn is None:  # shapes only
            return run(inputs, operation_fn or (lambda layer: layer), call_fn)
        return run_layers_in_parts(run, inputs, operation_fn)

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Saves as Keras does; of a model that several processes hold together, all call it and the first one writes."""
        with gather_weights(self) as writes:
            return super().save(*args, **kwargs) if writes else None

    def save_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Saves as Keras does; of a model that several processes hold together, all call it and the first one writes."""
        with gather_weights(self) as writes:
            return super().save_weights(*args, **kwargs) if writes else None

    def make_test_function(self, force: bool = False) -> None:
        """Makes the step function of `evaluate`; Keras calls it."""
        if self.test_function is None or force:
            super().make_test_function(force=force)
            self._check_first_batch("test_function")

    def make_predict_function(self, force: bool = False) -> Any:
        """Makes and returns the step function of `predict`; Keras calls it."""
        if self.predict_function is None or force:
            super().make_predict_function(force=force)
            self._check_first_batch("predict_function")
        return self.predict_function

    def make_train_function(self, force: bool = False) -> None:
        """Makes the step function of `fit`; Keras calls it."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force=force)
        build_optimizer_before_trace(self)
        is_local = keras.distribution.distribution() is None
        is_compiled = self.jit_compile and not self.run_eagerly
        if keras.backend.backend() == "jax" and self.steps_per_execution > 1 and is_compiled and is_local:
            self.train_function = make_multi_step(self.train_step, self.steps_per_execution, keep=self.keep_state)
        self._check_first_batch("train_function")

    def _check_first_batch(self, name: str) -> None:
        """Replaces a step function by one that checks the first batch and then puts the step function back."""
        step = getattr(self, name)

        def check_and_step(*arguments: Any) -> Any:
            if getattr(self, name) is not check_and_step:
                return step(*arguments)
            setattr(self, name, step)
            *state, batches = arguments  # JAX passes its state first
            num_batches = self.steps_per_execution or 1
            checked = check_first(batches, self._check_batch, is_worthwhile=self._needs_check, num_batches=num_batches)
            return step(*state, checked)

        setattr(self, name, check_and_step)

    def _needs_check(self, batch: Any) -> bool:
        """Whether a batch of these shapes and dtypes can have a problem that was not logged yet."""
        if keras.distribution.distribution() is not None:  # a process has only a part of the batch
            return False
        images, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
        check_pixels = "pixels" not in self._warned and _are_float_images(images)
        check_targets = "targets" not in self._warned and _are_per_class(targets) and bool(self._single_label_metrics)
        return check_pixels or check_targets

    def _check_batch(self, batch: Any) -> None:
        if not self._needs_check(batch):
            return
        images, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
        first = self.layers[1] if len(self.layers) > 1 else None
        if _are_float_images(images) and isinstance(first, PixelNormalization):
            problem = find_pixel_problem(keras.ops.convert_to_numpy(images[:_NUM_CHECKED]), pixel_std=first.std)
            if problem is not None:
                self._warn_once("pixels", problem)
        metrics = self._single_label_metrics
        if metrics and _are_per_class(targets) and _are_multi_label(keras.ops.convert_to_numpy(targets)):
            self._warn_once(
                "targets",
                f"the targets are multi-label (several classes per image, or none), but {', '.join(metrics)} compares only the top "
                "class and means nothing here: use keras.metrics.BinaryAccuracy(threshold=0.0) for logits, "
                "keras.metrics.AUC(multi_label=True, from_logits=True) or keras.metrics.F1Score, and the loss binary_crossentropy.",
            )

    def _warn_once(self, what: str, text: str) -> None:
        if what not in self._warned:
            self._set_untracked("_warned", self._warned | {what})
            _log.warning("%s: %s", self.name, text)

    def _set_untracked(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def build_optimizer_before_trace(model: keras.Model) -> None:
    """Creates the optimizer's variables on TensorFlow, where Keras creates them during the trace of the step and then traces again."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not model.optimizer.built and not tf.distribute.has_strategy():
            model.optimizer.build(model.trainable_variables)


def make_multi_step(
    step: _Step, count: int, *, keep: Callable[[_Step], _Step]
) -> Callable[[Any, Iterator[Any]], tuple[Any, Any]]:
    """Returns a function that takes `count` batches from an iterator and runs their steps in one call of the device.

    `keep` wraps a compiled step; see `ReliableLoops.keep_state`.
    """
    import jax

    def scanned(state: Any, batches: list[Any]) -> tuple[Any, Any]:
        def body(state: Any, batch: Any) -> tuple[Any, Any]:
            logs, state = step(state, batch)
            return state, logs

        stacked = jax.tree.map(lambda *arrays: jax.numpy.stack(arrays), *batches)
        state, logs = jax.lax.scan(body, state, stacked)
        return jax.tree.map(lambda values: values[-1], logs), state

    def shapes(batch: Any) -> tuple[Any, ...]:
        return tuple(leaf.shape for leaf in jax.tree.leaves(batch))

    single, multiple = keep(jax.jit(step, donate_argnums=0)), keep(jax.jit(scanned, donate_argnums=0))

    def run(state: Any, iterator: Iterator[Any]) -> tuple[Any, Any]:
        batches = list(itertools.islice(iterator, count))
        if not batches:
            raise StopIteration
        if len(batches) == count and len({shapes(batch) for batch in batches}) == 1:
            return multiple(state, batches)
        for batch in batches:  # the last ones of an epoch
            logs, state = single(state, batch)
        return logs, state

    return run


def _are_float_images(images: Any) -> bool:
    return len(getattr(images, "shape", None) or ()) == 4 and "float" in str(images.dtype)


def _are_per_class(targets: Any) -> bool:
    shape = tuple(getattr(targets, "shape", None) or ())
    return len(shape) == 2 and shape[-1] not in (None, 1)


def _are_multi_label(targets: np.ndarray) -> bool:
    """Whether targets are 0 or 1 per class, with images that don't have exactly one class."""
    return bool(np.isin(targets, (0, 1)).all() and (targets.sum(-1) != 1).any())
