"""Tells whether a model returns logits or probabilities, and adapts losses and metrics to it."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras

from vit_keras.models.own_head import read_activation

OutputKind = Literal["logits", "probabilities"]
Adapted = tuple[Any, list[str]]
"""An adapted loss or metric, and sentences that say what was changed or is wrong."""

_CROSSENTROPIES: dict[str, type[keras.losses.Loss]] = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "binary_focal_crossentropy": keras.losses.BinaryFocalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "categorical_focal_crossentropy": keras.losses.CategoricalFocalCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
}
_LOGITS_ARGUMENTS: dict[str, dict[str, Any]] = {
    "AUC": {"from_logits": True},
    "BinaryAccuracy": {"threshold": 0.0},
    "BinaryCrossentropy": {"from_logits": True},
    "CategoricalCrossentropy": {"from_logits": True},
    "SparseCategoricalCrossentropy": {"from_logits": True},
    "Precision": {"thresholds": 0.0},
    "Recall": {"thresholds": 0.0},
}
"""Arguments for logits of metrics that take probabilities by default."""

_METRIC_NAMES = {
    "binary_accuracy": "BinaryAccuracy",
    "binary_crossentropy": "BinaryCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
}
"""Keras' other names of these metrics."""


def find_output_kind(model: keras.Model) -> OutputKind | None:
    """Returns what a functional model with one output returns; None where its layers don't tell."""
    if len(model.outputs) != 1:
        return None
    tensor = model.outputs[0]
    while True:
        history = tensor._keras_history
        operation = history.operation
        inputs = operation._inbound_nodes[history.node_index].arguments.keras_tensors
        if isinstance(operation, keras.layers.Average):  # of the two heads of a distilled model
            heads = [each._keras_history.operation for each in inputs]
            return "logits" if all(map(_returns_logits, heads)) else None
        activation = read_activation(operation) if isinstance(operation, keras.layers.Layer) else "unknown"
        if activation in ("softmax", "sigmoid"):
            return "probabilities"
        if _returns_logits(operation):
            return "logits"
        passes_through = isinstance(operation, keras.layers.Dropout | keras.layers.Identity | keras.layers.Activation)
        if activation != "linear" or not passes_through:
            return None
        tensor = inputs[0]


def adapt_loss(loss: Any, kind: OutputKind) -> Adapted:
    """Returns a loss, or a structure of them, for the model's output, and what was changed.

    >>> adapted, changes = adapt_loss("sparse_categorical_crossentropy", "logits")
    >>> adapted.from_logits, changes
    (True, ['the loss SparseCategoricalCrossentropy takes logits now: from_logits=True'])
    """
    if isinstance(loss, Mapping | list | tuple):
        return _adapt_each(loss, lambda each: adapt_loss(each, kind))
    crossentropy = _as_object(loss)
    from_logits = getattr(crossentropy, "from_logits", None)
    wanted = kind == "logits"
    if from_logits is None or from_logits == wanted:
        return loss, []
    name, config = type(crossentropy).__name__, crossentropy.get_config()
    if "from_logits" not in config:
        return loss, [
            f"the loss {name} takes logits, and learns little from probabilities: build the model with classifier_activation=None"
        ]
    adapted = type(crossentropy).from_config({**config, "from_logits": wanted})
    return adapted, [f"the loss {name} takes {kind} now: from_logits={wanted}"]


def adapt_metrics(metrics: Any, *, num_outputs: int) -> Adapted:
    """Returns metrics, or a structure of them, for a model that returns logits, and what was changed or is wrong."""
    if isinstance(metrics, Mapping | list | tuple):
        return _adapt_each(metrics, lambda each: adapt_metrics(each, num_outputs=num_outputs))
    if isinstance(metrics, str):
        change = (
            f"the metric {metrics!r} is computed from logits: the threshold is 0, where it is 0.5 for probabilities"
        )
        if metrics in ("accuracy", "acc") and num_outputs == 1:
            return keras.metrics.BinaryAccuracy(metrics, threshold=0.0), [change]
        name = _METRIC_NAMES.get(metrics, metrics)
        if name in _LOGITS_ARGUMENTS:
            return getattr(keras.metrics, name)(**_LOGITS_ARGUMENTS[name]), [change]
        return metrics, []
    name = type(metrics).__name__
    if name not in _LOGITS_ARGUMENTS or type(metrics) is not getattr(keras.metrics, name):
        return metrics, []
    config, default = metrics.get_config(), type(metrics)().get_config()
    return metrics, [
        f"the metric {name} takes probabilities by default: give it {argument}={value!r} for logits"
        for argument, value in _LOGITS_ARGUMENTS[name].items()
        if config[argument] == default[argument]
    ]


def _adapt_each(given: Any, adapt: Callable[[Any], Adapted]) -> Adapted:
    results = [adapt(each) for each in (given.values() if isinstance(given, Mapping) else given)]
    adapted, texts = [each for each, _ in results], [text for _, found in results for text in found]
    return dict(zip(given, adapted, strict=True)) if isinstance(given, Mapping) else type(given)(adapted), texts


def _returns_logits(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Dense) and read_activation(operation) == "linear"


def _as_object(loss: Any) -> Any:
    """Returns a cross-entropy, given by name or as a function, as an object; anything else unchanged."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", None)
    kinds = {**_CROSSENTROPIES, **{kind.__name__: kind for kind in _CROSSENTROPIES.values()}}
    if isinstance(loss, str) and loss in kinds:
        return kinds[loss]()
    if callable(loss) and name in _CROSSENTROPIES and loss is getattr(keras.losses, name):
        return _CROSSENTROPIES[name]()
    return loss
