"""Layers of the user's own behind a model's features or logits: which there may be, and how a preset directory holds them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import is_number

_FIELDS: dict[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "AlphaDropout": ("rate",),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Dense": ("units", "activation", "use_bias"),
    "Dropout": ("rate",),
    "ELU": ("alpha",),
    "Flatten": (),
    "GaussianDropout": ("rate",),
    "GaussianNoise": ("stddev",),
    "Identity": (),
    "LayerNormalization": ("axis", "epsilon", "center", "scale"),
    "LeakyReLU": ("negative_slope",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Rescaling": ("scale", "offset"),
    "Softmax": ("axis",),
    "UnitNormalization": ("axis",),
}
"""The layers there may be, and the arguments that are kept."""

_NOT_OF_THE_FUNCTION = ("name", "trainable", "dtype", "seed", "synchronized", "data_format")
"""Arguments that change nothing a layer computes; initializers don't either, since weights come with their numbers."""

_ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh",
)  # fmt: skip

_PROBABILITIES = ("softmax", "sigmoid")
_LONGEST = 32  # layers
_LARGEST_UNITS = 131_072


def problem_of(layer: Any) -> str | None:
    """Returns why a layer can't stand behind a model as part of it; None for one of Keras' simple ones.

    Args:
        layer: Any operation.
    """
    kind = type(layer).__name__
    if kind not in _FIELDS or type(layer) is not getattr(keras.layers, kind):
        return f"it is none of {sorted(_FIELDS)}"
    if "activation" in _FIELDS[kind] and activation_of(layer) not in _ACTIVATIONS:
        return "its activation is none of Keras' own"
    return None


def describe(layers: Sequence[keras.layers.Layer]) -> list[dict[str, Any]]:
    """Returns layers as plain data, for a preset directory.

    Args:
        layers: First to last.

    Raises:
        InvalidArgumentError: A layer has arguments that are no plain data.

    Example:
        >>> describe([keras.layers.Dense(5, activation="relu", name="mine")])
        [{'layer': 'Dense', 'name': 'mine', 'units': 5, 'activation': 'relu', 'use_bias': True}]
    """
    described = []
    for layer in layers:
        problem = problem_of(layer) or _not_kept(layer)
        if problem is not None:
            raise InvalidArgumentError(
                f"The layer {layer.name!r} can't be kept in a preset directory: {problem}. model.save('model.keras') keeps it."
            )
        kind = type(layer).__name__
        config = layer.get_config()
        described.append({"layer": kind, "name": layer.name, **{field: config[field] for field in _FIELDS[kind]}})
    return described


def build(described: Any) -> tuple[keras.layers.Layer, ...]:
    """Returns new layers as `describe` described them. They compute in float32, as every head does.

    Args:
        described: Data from a file that is not trusted: nothing in it names code.

    Raises:
        InvalidArgumentError: It is no such description.

    Example:
        >>> [layer.name for layer in build([{"layer": "Dropout", "name": "mine", "rate": 0.5}])]
        ['mine']
    """
    if not isinstance(described, list) or len(described) > _LONGEST:
        raise InvalidArgumentError(f"own_head is {described!r:.200}; expected a list of {_LONGEST} layers at most.")
    layers = tuple(_built(values) for values in described)
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"own_head names two layers alike: {names}.")
    return layers


def copy(
    layer: keras.layers.Layer, *, dtype_policies: Mapping[str, str] | None = None, **changes: Any
) -> keras.layers.Layer:
    """Returns a new layer with the same arguments, all of them, and no weights.

    Args:
        layer: Any.
        dtype_policies: Names of dtype policies that become others.
        **changes: Arguments in place of the layer's.
    """
    config = {**layer.get_config(), **changes}
    policy = (dtype_policies or {}).get(layer.dtype_policy.name)
    if policy is not None:
        config["dtype"] = policy
    return type(layer).from_config(config)


def find_classifier(layers: Sequence[keras.layers.Layer]) -> keras.layers.Dense | None:
    """Returns the last dense layer, which gives the logits; None where there is none.

    Args:
        layers: First to last.
    """
    return next((layer for layer in reversed(layers) if isinstance(layer, keras.layers.Dense)), None)


def activation_of(layer: keras.layers.Layer) -> str:
    """Returns the name of what a layer does to what it computed: "softmax", "linear" and so on.

    Args:
        layer: Any.
    """
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    function = getattr(layer, "activation", None)
    if not callable(function):
        return "linear"
    name = keras.activations.serialize(function)
    return name if isinstance(name, str) else "unknown"


def ends_in_probabilities(layer: keras.layers.Layer) -> bool:
    """Whether a layer ends in a softmax or a sigmoid.

    Args:
        layer: The last of a model.
    """
    return activation_of(layer) in _PROBABILITIES


def is_probabilities(layer: keras.layers.Layer) -> bool:
    """Whether a layer is nothing but a softmax or a sigmoid.

    Args:
        layer: Any.
    """
    return isinstance(layer, keras.layers.Softmax | keras.layers.Activation) and ends_in_probabilities(layer)


def check_activation(name: Any, *, what: str) -> None:
    """Raises `InvalidArgumentError` for what is no name of one of Keras' own activations.

    Args:
        name: From a file that is not trusted.
        what: What a message calls it.
    """
    if name not in _ACTIVATIONS:
        raise InvalidArgumentError(f"{what} is {name!r:.100}; expected one of {list(_ACTIVATIONS)}.")


def _not_kept(layer: keras.layers.Layer) -> str | None:
    """Returns what of a layer a preset directory would not keep, though it matters; None where there is nothing."""
    names = _FIELDS[type(layer).__name__]
    config = layer.get_config()
    defaults = type(layer)(**{name: config[name] for name in names}).get_config()
    for name, value in config.items():
        if name in names:
            if not _is_plain(value):
                return f"its {name} is no plain number"
        elif name not in _NOT_OF_THE_FUNCTION and not name.endswith("_initializer") and value != defaults.get(name):
            return f"its {name} is not kept"
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | str) or is_number(value)


def _built(values: Any) -> keras.layers.Layer:
    kind = values.get("layer") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping) or kind not in _FIELDS:
        raise InvalidArgumentError(
            f"own_head has {values!r:.200}, which is no layer it may have; known are {sorted(_FIELDS)}."
        )
    expected = {"layer", "name", *_FIELDS[kind]}
    problems = list(_problems(values)) if values.keys() == expected else [f"expected exactly {sorted(expected)}"]
    if problems:
        raise InvalidArgumentError(f"own_head has {dict(values)!r:.300}: {'; '.join(problems)}.")
    arguments = {name: value for name, value in values.items() if name != "layer"}
    try:
        layer: keras.layers.Layer = getattr(keras.layers, kind)(**arguments, dtype="float32")
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"own_head has {dict(values)!r:.300}: {error}") from error
    return layer


def _problems(values: Mapping[str, Any]) -> Iterator[str]:
    name = values["name"]
    if not isinstance(name, str) or not name or "/" in name or len(name) > 200:
        yield f"name={name!r:.100} is no name of a layer"
    for field, value in values.items():
        if field in ("layer", "name"):
            continue
        if field == "activation":
            if value not in _ACTIVATIONS:
                yield f"activation={value!r:.100} is none of {list(_ACTIVATIONS)}"
        elif field == "units":
            if type(value) is not int or not 1 <= value <= _LARGEST_UNITS:
                yield f"units={value!r} is not an integer from 1 to {_LARGEST_UNITS}"
        elif isinstance(value, str) or not _is_plain(value):
            yield f"{field}={value!r:.100} is no number"
