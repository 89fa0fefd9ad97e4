"""The base of every layer: its config is its constructor's arguments."""

import inspect
from typing import Any

import keras

from vit_keras.layers.base.checks import Shape


class BaseLayer(keras.layers.Layer):
    """A layer that keeps each constructor argument as an attribute of the same name, and whose output has the input's shape."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = [
            name
            for kind in reversed(type(self).__mro__)
            if issubclass(kind, BaseLayer) and "__init__" in vars(kind)
            for name, parameter in inspect.signature(vars(kind)["__init__"]).parameters.items()
            if name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        own = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {**own, **super().get_config()}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the output's shape for an input's shape."""
        return input_shape
