"""Losses and metrics that fit what a classifier ends in: logits or probabilities."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras

from vit_keras.models.own_head import activation_of

Ending = Literal["logits", "probabilities"]

_CROSSENTROPIES: dict[str, type[keras.losses.Loss]] = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "binary_focal_crossentropy": keras.losses.BinaryFocalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "categorical_focal_crossentropy": keras.losses.CategoricalFocalCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
}
_OF_LOGITS: dict[str, Callable[[], keras.metrics.Metric]] = {
    "AUC": lambda: keras.metrics.AUC(from_logits=True),
    "BinaryAccuracy": lambda: keras.metrics.BinaryAccuracy(threshold=0.0),
    "BinaryCrossentropy": lambda: keras.metrics.BinaryCrossentropy(from_logits=True),
    "CategoricalCrossentropy": lambda: keras.metrics.CategoricalCrossentropy(from_logits=True),
    "SparseCategoricalCrossentropy": lambda: keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
    "Precision": lambda: keras.metrics.Precision(thresholds=0.0),
    "Recall": lambda: keras.metrics.Recall(thresholds=0.0),
    "binary_accuracy": lambda: keras.metrics.BinaryAccuracy(threshold=0.0),
    "binary_crossentropy": lambda: keras.metrics.BinaryCrossentropy(from_logits=True),
    "categorical_crossentropy": lambda: keras.metrics.CategoricalCrossentropy(from_logits=True),
    "sparse_categorical_crossentropy": lambda: keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
}
"""Metrics that take probabilities by default, as they are for logits."""

_THROUGH = (keras.layers.Dropout, keras.layers.Identity)


def find_ending(model: keras.Model) -> Ending | None:
    """Returns what a functional model's only output is; None where that can't be told.

    Args:
        model: Any functional model.

    Example:
        >>> images = keras.Input((4,))
        >>> find_ending(keras.Model(images, keras.layers.Dense(3)(images)))
        'logits'
    """
    if len(model.outputs) != 1:
        return None
    tensor = model.outputs[0]
    while True:
        history = tensor._keras_history
        operation = history.operation
        inputs = operation._inbound_nodes[history.node_index].arguments.keras_tensors
        if isinstance(operation, keras.layers.Average):  # of the two heads of a distilled model
            heads = [each._keras_history.operation for each in inputs]
            return "logits" if all(map(_gives_logits, heads)) else None
        name = activation_of(operation) if isinstance(operation, keras.layers.Layer) else "unknown"
        if name in ("softmax", "sigmoid"):
            return "probabilities"
        if _gives_logits(operation):
            return "logits"
        if name != "linear" or not isinstance(operation, (*_THROUGH, keras.layers.Activation)):
            return None
        tensor = inputs[0]


def fit_loss(loss: Any, ending: Ending) -> tuple[Any, list[str]]:
    """Returns a loss, or a structure of them, as the ending needs it, and what was changed in words.

    Args:
        loss: What `compile` was given.
        ending: What the model ends in.

    Example:
        >>> fitted, changes = fit_loss("sparse_categorical_crossentropy", "logits")
        >>> fitted.from_logits, changes
        (True, ['the loss SparseCategoricalCrossentropy takes logits now: from_logits=True'])
    """
    if isinstance(loss, Mapping):
        fitted = {name: fit_loss(each, ending) for name, each in loss.items()}
        return {name: each for name, (each, _) in fitted.items()}, [
            word for _, words in fitted.values() for word in words
        ]
    if isinstance(loss, list | tuple):
        both = [fit_loss(each, ending) for each in loss]
        return type(loss)(each for each, _ in both), [word for _, words in both for word in words]
    found = _as_object(loss)
    from_logits = getattr(found, "from_logits", None)
    wanted = ending == "logits"
    if from_logits is None or from_logits == wanted:
        return loss, []
    kind, config = type(found).__name__, found.get_config()
    if "from_logits" not in config:
        return loss, [
            f"the loss {kind} takes logits, and the model ends in probabilities, from which it learns little: build the model with "
            "classifier_activation=None"
        ]
    changed = type(found).from_config({**config, "from_logits": wanted})
    return changed, [f"the loss {kind} takes {ending} now: from_logits={wanted}"]


def fit_metrics(metrics: Any, *, num_outputs: int) -> tuple[Any, list[str]]:
    """Returns metrics, or a structure of them, for a model that ends in logits, and what was changed or is wrong in words.

    Args:
        metrics: What `compile` was given.
        num_outputs: Width of the output.
    """
    if isinstance(metrics, Mapping):
        fitted = {name: fit_metrics(each, num_outputs=num_outputs) for name, each in metrics.items()}
        return {name: each for name, (each, _) in fitted.items()}, [
            word for _, words in fitted.values() for word in words
        ]
    if isinstance(metrics, list | tuple):
        both = [fit_metrics(each, num_outputs=num_outputs) for each in metrics]
        return type(metrics)(each for each, _ in both), [word for _, words in both for word in words]
    if isinstance(metrics, str):
        if metrics in ("accuracy", "acc") and num_outputs == 1:
            return keras.metrics.BinaryAccuracy(metrics, threshold=0.0), [_cut(metrics)]
        if metrics in _OF_LOGITS:
            return _OF_LOGITS[metrics](), [_cut(metrics)]
        return metrics, []
    kind = type(metrics).__name__
    if kind not in _OF_LOGITS or type(metrics) is not getattr(keras.metrics, kind):
        return metrics, []
    config, default, right = metrics.get_config(), type(metrics)().get_config(), _OF_LOGITS[kind]().get_config()
    for name in ("from_logits", "threshold", "thresholds"):
        if name in right and config[name] == default[name]:
            return metrics, [
                f"the metric {kind} takes probabilities as it is: give it {name}={right[name]!r} for logits"
            ]
    return metrics, []


def _cut(metric: str) -> str:
    return f"the metric {metric!r} is computed from logits, which are cut at 0 where probabilities are cut at 0.5"


def _gives_logits(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Dense) and activation_of(operation) == "linear"


def _as_object(loss: Any) -> Any:
    """Returns a cross-entropy as an object; anything else as it is."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", None)
    kinds = {**_CROSSENTROPIES, **{kind.__name__: kind for kind in _CROSSENTROPIES.values()}}
    if isinstance(loss, str) and loss in kinds:
        return kinds[loss]()
    if callable(loss) and name in _CROSSENTROPIES and loss is getattr(keras.losses, name):
        return _CROSSENTROPIES[name]()
    return loss
