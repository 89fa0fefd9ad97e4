"""The base of layers that contain layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Shape


class CompositeLayer(BaseLayer):
    """A layer of layers, whose config also says which of them are frozen or quantized.

    Keras' own config covers the outer layer only: a layer made in `build` would come back trainable and in floating point. `frozen`
    are paths, below this layer, of weights that don't train although this layer does; `quantized` is the serialized
    `quantization_config` of each quantized layer, by its path below this layer.
    """

    def __init__(
        self, *args: Any, frozen: Sequence[str] = (), quantized: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._frozen, self._quantized = list(frozen), dict(quantized or {})

    def build(self, input_shape: Shape) -> None:
        """Builds the inner layers, then quantizes and freezes those that the config names."""
        self.build_parts(input_shape)
        for path, layer in self._leaves():
            if path in self._quantized:
                layer.quantize(config=keras.saving.deserialize_keras_object(self._quantized[path]))
        for path, weight in self._trainable_weights_of(self):
            if not self.trainable or path in self._frozen:
                weight.trainable = False
        for layer in self._flatten_layers(include_self=False):
            weights = [weight for _, weight in self._trainable_weights_of(layer)]
            if weights and not any(weight.trainable for weight in weights):
                layer.trainable = False  # a frozen batch norm keeps its moving averages
        self.built = True

    def build_parts(self, input_shape: Shape) -> None:
        """Creates the weights and builds the inner layers."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; `frozen` and `quantized` only where they are not empty."""
        frozen, quantized = self._find_frozen_and_quantized() if self.built else (self._frozen, self._quantized)
        inside = {"frozen": list(frozen), "quantized": dict(quantized)}
        return {**super().get_config(), **{name: value for name, value in inside.items() if value}}

    def _find_frozen_and_quantized(self) -> tuple[list[str], dict[str, Any]]:
        weights = self._trainable_weights_of(self)
        frozen = [path for path, weight in weights if self.trainable and not weight.trainable]
        quantized = {
            path: keras.saving.serialize_keras_object(layer.quantization_config)
            for path, layer in self._leaves()
            if layer.quantization_mode is not None
        }
        return frozen, quantized

    def _leaves(self) -> list[tuple[str, keras.layers.Layer]]:
        """Returns the inner layers with weights and without layers, which alone can be quantized, with their paths below this one."""
        layers = self._flatten_layers(include_self=False)
        leaves = [layer for layer in layers if layer.weights and not layer._layers]
        return [(self._relative(layer.path), layer) for layer in leaves if layer.path is not None]

    def _trainable_weights_of(self, layer: keras.layers.Layer) -> list[tuple[str, keras.Variable]]:
        """Returns the weights that train unless they are frozen (moving averages never do), with their paths below this layer."""
        weights = [weight for part in layer._flatten_layers() for weight in part._trainable_variables]
        return [(self._relative(weight.path), weight) for weight in weights]

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self.path}/")
