"""What a model is made of, read from its graph and compared with what `vit` builds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import AttentionPooling, ConvStem, ParallelBlock, TransformerBlock
from vit_keras.layers.adapted_block import AdaptedBlock, AdaptedParallelBlock
from vit_keras.models.architecture import HEADS, IMAGES, LayerSpec, layer_specs
from vit_keras.models.own_head import activation_of, find_classifier, problem_of

_REMEDY = (
    "Save the whole model by model.save('model.keras'), or take the part that vit_keras.vit built: the model that you began with, or "
    "keras.Model(images, logits) of it."
)
_PIXELS = (
    "vit_keras models take pixels 0..255 and normalize them inside: for another range of pixels build the model with other "
    "pixel_mean and pixel_std (for 0..1 both are those of 0..255, divided by 255). "
)
_BLOCKS = (TransformerBlock, ParallelBlock, AdaptedBlock, AdaptedParallelBlock)
_TOLERANCE = 1e-6  # of rates that were computed


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelParts:
    """A model as `vit` built it, and the user's own layers behind it.

    Args:
        config: What `vit` builds the model's own layers from.
        num_classes: Classes that the model tells apart, at its very end; None where it gives features.
        classifier_activation: What the head that `vit` made ends in; None for logits, or where there is no such head.
        layers: The layers that `vit` made, by name, in the order of the forward pass.
        tensors: Their outputs in the model's graph; `IMAGES` is the input.
        pooled: Name of the layer whose output the head that `vit` makes sees, or would see.
        own_head: The user's layers behind them, first to last.
        is_nested: Whether the layers that `vit` made are in a model inside of this one.
    """

    config: ViTConfig
    num_classes: int | None
    classifier_activation: str | None
    layers: Mapping[str, keras.layers.Layer]
    tensors: Mapping[str, keras.KerasTensor]
    pooled: str
    own_head: tuple[keras.layers.Layer, ...]
    is_nested: bool

    @property
    def head_classes(self) -> int | None:
        """Classes of the head that `vit` made, which own layers may follow; None without."""
        head = self.layers.get(HEADS[0])
        return None if head is None else int(head.units)

    @property
    def blocks(self) -> list[TransformerBlock]:
        """The blocks, first to last."""
        return [layer for layer in self.layers.values() if isinstance(layer, TransformerBlock)]

    @property
    def heads(self) -> list[keras.layers.Layer]:
        """The layers behind the features: those that `vit` made, then the user's."""
        return [self.layers[name] for name in HEADS if name in self.layers] + list(self.own_head)

    @property
    def classifiers(self) -> list[keras.layers.Dense]:
        """The dense layers that give the logits: one, or both of a distilled model, which averages them; none without a head."""
        last = find_classifier(self.own_head)
        return [last] if last is not None else [self.layers[name] for name in HEADS if name in self.layers]

    @property
    def features(self) -> keras.KerasTensor:
        """What the first classifier sees; without one, what the model gives."""
        classifier = find_classifier(self.own_head)
        if classifier is None and HEADS[0] in self.layers:
            return self.tensors[self.pooled]
        output = self.tensors[list(self.layers)[-1]]
        for layer in self.own_head:
            if layer is classifier:
                break
            output = layer(output)
        return output

    def weights(self) -> dict[str, keras.Variable]:
        """Returns the weights by the names they have in a model of these parts alone."""
        return {weight.path: weight for layer in self.layers.values() for weight in layer.weights} | self.own_weights()

    def own_weights(self) -> dict[str, keras.Variable]:
        """Returns the weights of the user's own layers, by name."""
        return {f"{layer.name}/{weight.name}": weight for layer in self.own_head for weight in layer.weights}


def read_model(model: keras.Model) -> ModelParts:
    """Returns what a model is made of, also after `.keras` saved and loaded it, or inside of a model around it.

    Args:
        model: A model that `vit` made, perhaps with simple layers of Keras behind it.

    Raises:
        InvalidArgumentError: It was not made by `vit`, or layers or connections are not those that `vit` makes; the message says
            which, and what to do.

    Example:
        >>> from vit_keras.models.vit import vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> model = vit(config)
        >>> parts = read_model(keras.Model(model.input, keras.layers.Dense(5, name="mine")(model.output)))
        >>> parts.config == config, parts.num_classes, [layer.name for layer in parts.own_head]
        (True, 5, ['mine'])
    """
    body, behind = _unwrap(model)
    nodes = _graph(body)
    config = _config(body, nodes)
    specs, extra = _matching(body, nodes, config)
    own_head = (*_chain(body, nodes, specs[-1].name, extra), *behind)
    _check_names(model, specs, own_head)
    layers = {spec.name: nodes[spec.name].operation for spec in specs}
    classifier = find_classifier(own_head) or layers.get(HEADS[0])
    head = layers.get("probabilities") or layers.get(HEADS[0])
    activation = "linear" if head is None else activation_of(head)
    return ModelParts(
        config=config,
        num_classes=None if classifier is None else int(classifier.units),
        classifier_activation=None if activation == "linear" else activation,
        layers=layers,
        tensors={IMAGES: body.inputs[0]} | {name: nodes[name].output for name in layers},
        pooled=next((spec.inputs[0] for spec in specs if spec.name == HEADS[0]), specs[-1].name),
        own_head=own_head,
        is_nested=body is not model,
    )


@dataclass(frozen=True)
class _Call:
    """One call in a graph."""

    operation: Any
    inputs: tuple[str, ...]
    output: keras.KerasTensor
    keywords: dict[str, Any]


def _refuse(model: keras.Model, what: str, remedy: str = _REMEDY) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The model {model.name!r} is not what vit_keras.vit builds, with simple layers of Keras behind it at most: {what}. {remedy}"
    )


def _unwrap(model: keras.Model) -> tuple[keras.Model, list[keras.layers.Layer]]:
    """Returns the innermost model that the layers of `vit` are in, and the layers behind it in the models around it."""
    behind: list[keras.layers.Layer] = []
    body = model
    while True:
        _check_kind(model, body)
        inner = [layer for layer in body.layers if isinstance(layer, keras.Model)]
        if not inner:
            return body, behind
        nodes = _graph(body)
        if len(inner) > 1 or nodes.get(inner[0].name) is None or nodes[inner[0].name].inputs != (IMAGES,):
            names = [layer.name for layer in inner]
            raise _refuse(
                model,
                f"it has {names} inside, and there may be one model inside that reads the images as they are",
                f"Take the inner model: model.get_layer({names[0]!r}). {_PIXELS}model.save('model.keras') keeps the whole.",
            )
        extra = [name for name in nodes if name != inner[0].name]
        behind = [*_chain(body, nodes, inner[0].name, extra), *behind]
        body = inner[0]


def _check_kind(model: keras.Model, body: keras.Model) -> None:
    """Raises where a model is no graph from one input to one output."""
    try:
        inputs, outputs = body.inputs, body.outputs
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not inputs or not outputs:
        raise InvalidArgumentError(
            f"The model {body.name!r} was not made by vit_keras.vit, so it has no ViTConfig: it is no functional model. Take the model "
            "inside of it that vit_keras.vit made."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise _refuse(
            model,
            f"it has {_plural(len(inputs), 'input')} ({_names(inputs)}) and {_plural(len(outputs), 'output')} "
            f"({', '.join(tensor._keras_history.operation.name for tensor in outputs)}), and one of each is expected",
        )
    defining = next(kind for kind in type(body).__mro__ if "call" in vars(kind))
    if not defining.__module__.startswith("keras."):
        raise _refuse(model, f"its class {defining.__name__} has a call of its own")


def _names(tensors: list[keras.KerasTensor]) -> str:
    return ", ".join(tensor.name for tensor in tensors)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _graph(model: keras.Model) -> dict[str, _Call]:
    """Returns the calls that lead from a model's input to its output, by the names of what is called, inputs first."""
    found: dict[str, _Call] = {}
    start = model.inputs[0]

    def name_of(tensor: keras.KerasTensor) -> str:
        if tensor is start:
            return IMAGES
        history = tensor._keras_history
        operation = history.operation
        node = operation._inbound_nodes[history.node_index]
        known = found.get(operation.name)
        if known is None:
            inputs = tuple(name_of(each) for each in node.arguments.keras_tensors)
            keywords = {name: value for name, value in node.arguments.kwargs.items() if value is not None}
            known = found.setdefault(operation.name, _Call(operation, inputs, tensor, keywords))
        if known.output is not tensor:
            raise _refuse(model, f"the layer {operation.name!r} is used more than once")
        return str(operation.name)

    name_of(model.outputs[0])
    return found


def _config(model: keras.Model, nodes: Mapping[str, _Call]) -> ViTConfig:
    """Returns the config that the layers were built from, if `vit` built them."""
    layers = {name: call.operation for name, call in nodes.items()}
    blocks = [layer for layer in layers.values() if isinstance(layer, TransformerBlock)]
    stem = layers.get("patches") or layers.get("conv_stem")
    missing = [name for name in ("normalization", "patch_encoder", "final_norm", "pooling") if name not in layers]
    if not blocks or stem is None or missing:
        raise InvalidArgumentError(
            f"The model {model.name!r} was not made by vit_keras.vit, so it has no ViTConfig"
            + (
                f": between its input and output there is no layer {missing[0]!r}. {_REMEDY}"
                if blocks and missing
                else "."
            )
        )
    encoder, pooling, block = layers["patch_encoder"], layers["pooling"], blocks[-1]
    try:
        _, height, width, channels = model.inputs[0].shape
        return ViTConfig.from_dict(
            {
                "image_size": (height, width),
                "patch_size": stem.patch_size,
                "hidden_dim": encoder.hidden_dim,
                "num_layers": len(blocks),
                "num_heads": block.num_heads,
                "mlp_dim": block.mlp_dim,
                "channels": channels,
                "pixel_mean": tuple(layers["normalization"].mean),
                "pixel_std": tuple(layers["normalization"].std),
                "stem": "conv" if isinstance(stem, ConvStem) else "patch",
                "patch_bias": encoder.use_bias,
                "class_token": encoder.class_token,
                "distillation_token": encoder.distillation_token,
                "distillation_head": not encoder.distillation_token or "distillation_pooling" in layers,
                "num_registers": encoder.num_registers,
                "position_embedding": encoder.position_embedding,
                "position_on_prefix": encoder.position_on_prefix,
                "position_resize": encoder.position_resize,
                "patch_resize": encoder.patch_resize,
                **_rotary_fields(block.rotary),
                "stem_norm": "stem_norm" in layers,
                "qkv_bias": block.qkv_bias,
                "qk_norm": block.qk_norm,
                "parallel_block": block.parallel,
                "gated_mlp": block.gated_mlp,
                "mlp_inner_norm": block.mlp_inner_norm,
                "pre_logits_dim": _pre_logits_dim(layers.get("pre_logits")),
                "pooling": "map" if isinstance(pooling, AttentionPooling) else pooling.pooling,
                "map_includes_prefix": not (isinstance(pooling, AttentionPooling) and pooling.num_skipped_tokens),
                "final_norm": "after" if nodes["final_norm"].inputs == ("pooling",) else "before",
                "norm_epsilon": block.norm_epsilon,
                "activation": block.activation,
                "layer_scale": block.layer_scale,
                "dropout_rate": block.dropout_rate,
                "attention_dropout_rate": block.attention_dropout_rate,
                "stochastic_depth_rate": block.stochastic_depth_rate,
                "remat": block.remat,
            }
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise _refuse(model, f"its layers have the names of vit's and are others ({error})") from error


def _pre_logits_dim(layer: Any) -> int | None:
    is_dense = isinstance(layer, keras.layers.Dense) and activation_of(layer) == "tanh"
    return int(layer.units) if is_dense else None


def _rotary_fields(rotary: dict[str, Any] | None) -> dict[str, Any]:
    if rotary is None:
        return {}
    return {
        "rotary_embedding": rotary["kind"],
        "rotary_temperature": rotary["temperature"],
        "rotary_order": rotary["order"],
        "rotary_reference": rotary["reference"],
    }


def _matching(model: keras.Model, nodes: Mapping[str, _Call], config: ViTConfig) -> tuple[list[LayerSpec], list[str]]:
    """Returns the layers that `vit` makes of a config and that are there, with the names of all others."""
    specs = _with_head(nodes, config) or layer_specs(config)
    difference = next(_differences(nodes, specs), None)
    if difference is not None:
        in_front = nodes["normalization"].inputs != (IMAGES,)
        raise _refuse(model, difference, _PIXELS + _REMEDY if in_front else _REMEDY)
    names = {spec.name for spec in specs}
    return specs, [name for name in nodes if name not in names]


def _with_head(nodes: Mapping[str, _Call], config: ViTConfig) -> list[LayerSpec] | None:
    """Returns what `vit` makes with the head that is there; None where none is, or one that the user made."""
    head, end = nodes.get(HEADS[0]), nodes.get("probabilities")
    if head is None or type(head.operation) is not keras.layers.Dense:
        return None
    ends_in = activation_of(end.operation if end is not None and config.has_two_heads else head.operation)
    activation = None if ends_in == "linear" else ends_in
    specs = layer_specs(config, num_classes=head.operation.units, classifier_activation=activation)
    own = next(_differences(nodes, [spec for spec in specs if spec.name == HEADS[0]]), None)
    return specs if own is None else None


def _differences(nodes: Mapping[str, _Call], specs: list[LayerSpec]) -> Iterator[str]:
    """Yields in what a graph's layers are not those that `vit` makes."""
    for spec in specs:
        call = nodes.get(spec.name)
        if call is None:
            yield f"it lacks the layer {spec.name!r}, a {spec.kind.__name__}"
            continue
        if call.inputs != spec.inputs:
            yield f"{spec.name!r} reads {_described(nodes, call.inputs)} where vit's reads {_described(nodes, spec.inputs)}"
        if call.keywords.get("training"):
            yield f"{spec.name!r} is called with training=True, as in training always"
        kind = type(call.operation)
        if kind is not spec.kind and not (spec.kind is TransformerBlock and kind in _BLOCKS):
            yield f"{spec.name!r} is a {kind.__name__} where vit makes a {spec.kind.__name__}"
            continue
        for name, value in spec.arguments.items():
            if name in ("kernel_initializer", "dtype"):
                continue
            found = (
                activation_of(call.operation)
                if name == "activation" and _is_of_keras(kind)
                else getattr(call.operation, name)
            )
            wanted = "linear" if name == "activation" and value is None else value
            if not _equal(found, wanted):
                yield f"{spec.name!r} has {name}={found!r} where the other layers need {wanted!r}"
        if kind is keras.layers.Dense and (more := _of_dense(call.operation)):
            yield f"{spec.name!r} has {more}"


def _described(nodes: Mapping[str, _Call], names: tuple[str, ...]) -> str:
    return " and ".join(
        "the images"
        if name == IMAGES
        else f"{name!r}" + (f" ({type(nodes[name].operation).__name__})" if name in nodes else "")
        for name in names
    )


def _is_of_keras(kind: type) -> bool:
    return kind in (keras.layers.Dense, keras.layers.Activation)


def _of_dense(layer: keras.layers.Dense) -> str:
    """Returns what a dense layer has that `vit` gives none; nothing where there is nothing."""
    if not layer.use_bias:
        return "no bias"
    names = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
    return next((f"a {name}" for name in names if getattr(layer, name) is not None), "")


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        found, wanted = list(found) if isinstance(found, list | tuple) else found, list(wanted)
    if isinstance(wanted, float) and isinstance(found, float):
        return abs(found - wanted) <= _TOLERANCE
    return bool(found == wanted)


def _chain(model: keras.Model, nodes: Mapping[str, _Call], start: str, extra: list[str]) -> list[keras.layers.Layer]:
    """Returns the layers that lead from one layer to the model's output, where they are a chain that can be kept."""
    chain: list[keras.layers.Layer] = []
    last = start
    for name in extra:  # inputs come first
        call = nodes[name]
        what = f"behind {last!r} stands {_described(nodes, (name,))}"
        if call.inputs != (last,):
            reads = _described(nodes, call.inputs) or "nothing"
            raise _refuse(
                model,
                f"{_described(nodes, (name,))} reads {reads}; behind {last!r} there may be a chain of layers at most",
            )
        problem = problem_of(call.operation)
        if problem is not None:
            raise _refuse(model, f"{what}, and {problem}")
        if call.keywords.get("training"):
            raise _refuse(model, f"{what}, called with training=True, as in training always")
        chain.append(call.operation)
        last = name
    return chain


def _check_names(model: keras.Model, specs: list[LayerSpec], own_head: tuple[keras.layers.Layer, ...]) -> None:
    names = [spec.name for spec in specs] + [layer.name for layer in own_head]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _refuse(
            model,
            f"{twice} name a layer inside and one behind it, which can't stand in one model",
            "Name your layers otherwise: keras.layers.Dense(..., name='my_head').",
        )
