"""The base of the layers that are made of layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from vit_keras.layers.base.checks import Shape


class CompositeLayer(keras.layers.Layer):
    """A layer made of layers, whose config also says which of those are frozen or quantized.

    Keras' `get_config` and `from_config` speak of the outer layer alone: layers made in `build` would train although the outer one
    is frozen, and quantized ones would come back in floating point, without a place for their scales.

    Args:
        frozen: Paths, below this layer, of weights that don't train although this layer does.
        quantized: The `quantization_config` of each quantized layer, serialized, by its path below this layer.
        *args: As for the layer beside which this one stands among the bases.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(
        self, *args: Any, frozen: Sequence[str] = (), quantized: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._frozen, self._quantized = list(frozen), dict(quantized or {})

    def build(self, input_shape: Shape) -> None:
        """Builds the layers inside, then quantizes and freezes what the config names."""
        self.build_parts(input_shape)
        for path, layer in self._leaves():
            if path in self._quantized:
                layer.quantize(config=keras.saving.deserialize_keras_object(self._quantized[path]))
        for path, weight in self._potentially_trainable(self):
            if not self.trainable or path in self._frozen:
                weight.trainable = False
        for layer in self._flatten_layers(include_self=False):
            weights = [weight for _, weight in self._potentially_trainable(layer)]
            if weights and not any(weight.trainable for weight in weights):
                layer.trainable = False  # batch norms then leave their averages alone
        self.built = True

    def build_parts(self, input_shape: Shape) -> None:
        """Makes the weights and builds the layers inside; `build` calls it.

        Args:
            input_shape: Of what the layer is called with.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; `frozen` and `quantized` only where they are not empty."""
        frozen, quantized = self._found_inside() if self.built else (self._frozen, self._quantized)
        inside = {"frozen": list(frozen), "quantized": dict(quantized)}
        return {**super().get_config(), **{name: value for name, value in inside.items() if value}}

    def _found_inside(self) -> tuple[list[str], dict[str, Any]]:
        """Returns what `frozen` and `quantized` have to be for a layer as this one is now."""
        frozen = [path for path, weight in self._potentially_trainable(self) if self.trainable and not weight.trainable]
        quantized = {
            path: keras.saving.serialize_keras_object(layer.quantization_config)
            for path, layer in self._leaves()
            if layer.quantization_mode is not None
        }
        return frozen, quantized

    def _leaves(self) -> list[tuple[str, keras.layers.Layer]]:
        """Returns the layers inside that have weights and no layers, which alone can be quantized, with their paths below this one."""
        layers = self._flatten_layers(include_self=False)
        leaves = [layer for layer in layers if layer.weights and not layer._layers]
        return [(self._below(layer.path), layer) for layer in leaves if layer.path is not None]

    def _potentially_trainable(self, layer: keras.layers.Layer) -> list[tuple[str, keras.Variable]]:
        """Returns a layer's weights that train where it does, which moving averages never do, with their paths below this layer."""
        weights = [weight for part in layer._flatten_layers() for weight in part._trainable_variables]
        return [(self._below(weight.path), weight) for weight in weights]

    def _below(self, path: str) -> str:
        return path.removeprefix(f"{self.path}/")
