"""The user's own layers after a model: which are allowed, and how a preset directory describes them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import is_number, list_words

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
"""The allowed layers, and the arguments that are saved."""

_WITHOUT_EFFECT = ("name", "trainable", "dtype", "seed", "synchronized", "data_format")
"""Arguments that don't change the outputs; nor do initializers, since the weights are loaded."""

_ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh",
)  # fmt: skip

_LONGEST = 32  # layers
_LARGEST_UNITS = 131_072


def find_problem(layer: Any) -> str | None:
    """Returns why a layer can't be part of an own head; None for the allowed layers."""
    kind = type(layer).__name__
    if kind not in _FIELDS or type(layer) is not getattr(keras.layers, kind):
        return f"it is not one of {list_words(sorted(_FIELDS))}"
    if "activation" in _FIELDS[kind] and read_activation(layer) not in _ACTIVATIONS:
        return "its activation is not one of Keras' own"
    return None


def describe(layers: Sequence[keras.layers.Layer]) -> list[dict[str, Any]]:
    """Returns layers as plain data, for a preset directory.

    >>> describe([keras.layers.Dense(5, activation="relu", name="mine")])
    [{'layer': 'Dense', 'name': 'mine', 'units': 5, 'activation': 'relu', 'use_bias': True}]
    """
    described = []
    for layer in layers:
        problem = find_problem(layer) or _find_lost(layer)
        if problem is not None:
            raise InvalidArgumentError(
                f"The layer {layer.name!r} can't be saved in a preset directory: {problem}. model.save('model.keras') saves it."
            )
        kind = type(layer).__name__
        config = layer.get_config()
        described.append({"layer": kind, "name": layer.name, **{field: config[field] for field in _FIELDS[kind]}})
    return described


def build(described: Any) -> tuple[keras.layers.Layer, ...]:
    """Returns new layers from what `describe` returned, in an untrusted file. They compute in float32, as every head does."""
    if not isinstance(described, list) or len(described) > _LONGEST:
        raise InvalidArgumentError(f"own_head is {described!r:.200}; expected a list of at most {_LONGEST} layers.")
    layers = tuple(_build_layer(values) for values in described)
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"own_head has two layers of the same name: {list_words(names)}.")
    return layers


def copy(
    layer: keras.layers.Layer, *, dtype_policies: Mapping[str, str] | None = None, **changes: Any
) -> keras.layers.Layer:
    """Returns a new layer with the same arguments, or these changes, and without weights; dtype policies are renamed."""
    config = {**layer.get_config(), **changes}
    policy = (dtype_policies or {}).get(layer.dtype_policy.name)
    if policy is not None:
        config["dtype"] = policy
    return type(layer).from_config(config)


def find_classifier(layers: Sequence[keras.layers.Layer]) -> keras.layers.Dense | None:
    """Returns the last dense layer, which gives the logits, or None."""
    return next((layer for layer in reversed(layers) if isinstance(layer, keras.layers.Dense)), None)


def read_activation(layer: keras.layers.Layer) -> str:
    """Returns the name of a layer's activation: "softmax", "linear", "unknown" and so on."""
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    function = getattr(layer, "activation", None)
    if not callable(function):
        return "linear"
    name = keras.activations.serialize(function)
    return name if isinstance(name, str) else "unknown"


def ends_in_probabilities(layer: keras.layers.Layer) -> bool:
    """Whether a layer's activation is softmax or sigmoid."""
    return read_activation(layer) in ("softmax", "sigmoid")


def is_probabilities(layer: keras.layers.Layer) -> bool:
    """Whether a layer is only a softmax or a sigmoid."""
    return isinstance(layer, keras.layers.Softmax | keras.layers.Activation) and ends_in_probabilities(layer)


def check_activation(name: Any, *, what: str) -> None:
    """Raises `InvalidArgumentError` for a name, from an untrusted file, that is not one of Keras' own activations."""
    if name not in _ACTIVATIONS:
        raise InvalidArgumentError(f"{what} is {name!r:.100}; expected one of {list_words(_ACTIVATIONS)}.")


def _find_lost(layer: keras.layers.Layer) -> str | None:
    """Returns which of a layer's arguments a preset directory would lose, or None."""
    names = _FIELDS[type(layer).__name__]
    config = layer.get_config()
    defaults = type(layer)(**{name: config[name] for name in names}).get_config()
    for name, value in config.items():
        if name in names:
            if not _is_plain(value):
                return f"its {name} is not plain data"
        elif name not in _WITHOUT_EFFECT and not name.endswith("_initializer") and value != defaults.get(name):
            return f"its {name} is not saved"
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | str) or is_number(value)


def _build_layer(values: Any) -> keras.layers.Layer:
    kind = values.get("layer") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping) or kind not in _FIELDS:
        raise InvalidArgumentError(
            f"own_head has {values!r:.200}, which is not an allowed layer; allowed are {list_words(sorted(_FIELDS))}."
        )
    expected = {"layer", "name", *_FIELDS[kind]}
    problems = (
        list(_problems(values)) if values.keys() == expected else [f"expected exactly {list_words(sorted(expected))}"]
    )
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
        yield f"name={name!r:.100} is not a layer name"
    for field, value in values.items():
        if field in ("layer", "name"):
            continue
        if field == "activation":
            if value not in _ACTIVATIONS:
                yield f"activation={value!r:.100} is not one of {list_words(_ACTIVATIONS)}"
        elif field == "units":
            if type(value) is not int or not 1 <= value <= _LARGEST_UNITS:
                yield f"units={value!r} is not an integer from 1 to {_LARGEST_UNITS}"
        elif isinstance(value, str) or not _is_plain(value):
            yield f"{field}={value!r:.100} is not a number"
