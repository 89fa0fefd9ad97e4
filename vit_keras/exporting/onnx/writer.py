"""Writes a model as an ONNX graph: from its config, its weights and the list of its layers."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import onnx
from onnx import helper

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.exporting.onnx.blocks import add_attention_pooling, add_block
from vit_keras.exporting.onnx.dense import add_norm
from vit_keras.exporting.onnx.graph import Graph, refuse
from vit_keras.exporting.onnx.head import (
    add_average,
    add_final_dense,
    add_own_layer,
    add_probabilities,
    add_token_pooling,
)
from vit_keras.exporting.onnx.relative_position import add_relative_position
from vit_keras.exporting.onnx.stem import add_conv_stem, add_normalization, add_patch_encoder, add_patches
from vit_keras.layers import (
    AttentionPooling,
    ConvStem,
    LayerNorm,
    PatchEncoder,
    Patches,
    PatchIndices,
    PixelNormalization,
    RelativePositionBias,
    RMSNorm,
    TokenPooling,
    TransformerBlock,
)
from vit_keras.models.architecture import HEADS, IMAGES, LayerSpec, layer_specs

BATCH = "batch"
"""Name of the axis of images, which can have any size."""

_Adder = Callable[..., str]


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A plain model as data.

    Args:
        config: Of the layers that `vit` makes.
        weights: All weights by name, float32.
        head_classes: Classes of the head that `vit` makes; None without it.
        classifier_activation: Of that head; None for logits.
        own_head: The user's own layers, as `vit_keras.models.own_head.describe` describes them.
        num_outputs: Width of the output.
    """

    config: ViTConfig
    weights: Mapping[str, np.ndarray]
    head_classes: int | None
    num_outputs: int
    classifier_activation: str | None = None
    own_head: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def write_graph(model: ModelDescription, *, output: str, more: Sequence[str] = (), opset: int = 20) -> onnx.ModelProto:
    """Returns an ONNX model: images `(batch, height, width, channels)`, uint8, to `(batch, outputs)`, float32.

    Nodes have the names of the layers, and weights those that they have in vit_keras. An option, a layer or an argument that no graph is
    written for is refused.

    Args:
        model: The model.
        output: Name of the output.
        more: Further outputs: "features", "tokens", "attention".
        opset: Version of the operators.

    Raises:
        InvalidArgumentError: The model has something that no graph is written for.
    """
    config = model.config
    graph = Graph(model.weights, opset=opset, config=config)
    specs = layer_specs(config, num_classes=model.head_classes, classifier_activation=model.classifier_activation)
    tensors = {IMAGES: IMAGES}
    for spec in specs:
        tensors[spec.name] = _add_layer(graph, spec, tensors)
    last = tensors[specs[-1].name]
    for layer in model.own_head:
        last = add_own_layer(graph, last, layer)
    outputs: dict[str, tuple[str, list[str | int]]] = {output: (last, [BATCH, model.num_outputs])}
    for name in more:
        if name == output:
            raise InvalidArgumentError(
                f'outputs has "{name}", which the model without a head returns anyway: leave it out.'
            )
        outputs[name] = _find_output(name, graph, specs, tensors, config)
    for name, (tensor, _) in outputs.items():
        graph.add("Identity", tensor, name=name)
    sides = ["height", "width"] if config.dynamic_image_size else list(config.image_size)
    images = helper.make_tensor_value_info(IMAGES, onnx.TensorProto.UINT8, [BATCH, *sides, config.channels])
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()
    ]
    return graph.build(inputs=[images], outputs=values, name="vit")


def _add_layer(graph: Graph, spec: LayerSpec, tensors: Mapping[str, str]) -> str:
    """Adds a layer; arguments that its function does not know must have the layer's default."""
    adder = _ADDERS.get(spec.kind)
    if adder is None:
        raise refuse(f"the layer {spec.name!r}, a {spec.kind.__name__}")
    known = inspect.signature(adder).parameters
    defaults = inspect.signature(spec.kind.__init__).parameters
    keywords = {name: tensors[layer] for name, layer in spec.keywords.items()}
    unknown = {
        name: value
        for name, value in {**spec.arguments, **keywords}.items()
        if name not in known and (name not in defaults or defaults[name].default != value)
    }
    if unknown:
        listed = ", ".join(f"{name}={value!r}" for name, value in unknown.items())
        raise refuse(f"{listed} of the layer {spec.name!r}, a {spec.kind.__name__}")
    arguments = {name: value for name, value in spec.arguments.items() if name in known}
    return adder(graph, spec.name, [tensors[name] for name in spec.inputs], **arguments, **keywords)


def _find_output(
    name: str, graph: Graph, specs: Sequence[LayerSpec], tensors: Mapping[str, str], config: ViTConfig
) -> tuple[str, list[str | int]]:
    """Returns the tensor and shape of a further output."""
    tokens = "tokens" if config.dynamic_image_size else config.num_tokens
    if name == "attention":
        if not graph.attention:
            raise refuse('the output "attention" of differential attention, whose heads have two maps each')
        return graph.attention, [BATCH, config.num_heads, tokens, tokens]
    if name == "tokens":
        layer = "final_norm" if config.final_norm == "before" else f"block_{config.num_layers - 1:02d}"
        return tensors[layer], [BATCH, tokens, config.hidden_dim]
    heads = [spec for spec in specs if spec.name == HEADS[0]]
    return tensors[heads[0].inputs[0] if heads else specs[-1].name], [BATCH, config.feature_dim]


def _add_layer_norm(graph: Graph, name: str, inputs: Sequence[str], *, epsilon: float) -> str:
    (tokens,) = inputs
    return add_norm(graph, tokens, name=name, epsilon=epsilon)


def _add_rms_norm(graph: Graph, name: str, inputs: Sequence[str], *, epsilon: float) -> str:
    (tokens,) = inputs
    return add_norm(graph, tokens, name=name, epsilon=epsilon, norm="rms")


def _add_shared_bias(
    graph: Graph, name: str, inputs: Sequence[str], *, kind: str, num_heads: int, grid_size: Sequence[int],
    num_prefix_tokens: int, hidden_dim: int,
) -> str:  # fmt: skip
    """Adds the `RelativePositionBias` of all blocks, which does not depend on the tokens."""
    return add_relative_position(
        graph, name=name, kind=kind, num_heads=num_heads, grid_size=grid_size, num_prefix_tokens=num_prefix_tokens,
        hidden_dim=hidden_dim,
    )  # fmt: skip


def _skip_indices(graph: Graph, name: str, inputs: Sequence[str], *, num_prefix_tokens: int) -> str:
    """Adds nothing: rotary embeddings read rows and columns of patches from the graph."""
    return inputs[0]


_ADDERS: dict[type[keras.layers.Layer], _Adder] = {
    PixelNormalization: add_normalization,
    Patches: add_patches,
    ConvStem: add_conv_stem,
    PatchEncoder: add_patch_encoder,
    LayerNorm: _add_layer_norm,
    RMSNorm: _add_rms_norm,
    RelativePositionBias: _add_shared_bias,
    PatchIndices: _skip_indices,
    TransformerBlock: add_block,
    AttentionPooling: add_attention_pooling,
    TokenPooling: add_token_pooling,
    keras.layers.Dense: add_final_dense,
    keras.layers.Average: add_average,
    keras.layers.Activation: add_probabilities,
}
