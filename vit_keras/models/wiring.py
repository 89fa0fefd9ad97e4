"""Reads what a model consists of: the layers that `vit` builds, then the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import TransformerBlock
from vit_keras.models.architecture import HEADS, IMAGES, LayerSpec
from vit_keras.models.comparison import match_layers, read_config
from vit_keras.models.graph import PIXELS, Calls, describe, read_calls, refuse
from vit_keras.models.own_head import find_classifier, find_problem, read_activation
from vit_keras.validation import list_words


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelParts:
    """The layers of a model that `vit` built, and the user's own layers after them."""

    config: ViTConfig  # of the layers that `vit` built
    num_classes: int | None  # of the last classifier; None for a model that returns features
    classifier_activation: str | None  # of the head that `vit` built; None for logits, or without that head
    layers: Mapping[str, keras.layers.Layer]  # that `vit` built, by name, in the order of the forward pass
    tensors: Mapping[str, keras.KerasTensor]  # their outputs in the model's graph; `IMAGES` is the input
    pooled: str  # name of the layer whose output the head of `vit` reads, or would read
    own_head: tuple[keras.layers.Layer, ...]  # the user's layers after them, first to last
    is_nested: bool  # the layers that `vit` built are in a model inside this one

    @property
    def head_classes(self) -> int | None:
        """Classes of the head that `vit` built, which own layers may follow; None without that head."""
        head = self.layers.get(HEADS[0])
        return None if head is None else int(head.units)

    @property
    def blocks(self) -> list[TransformerBlock]:
        """The blocks, first to last."""
        return [layer for layer in self.layers.values() if isinstance(layer, TransformerBlock)]

    @property
    def heads(self) -> list[keras.layers.Layer]:
        """The layers after the features: the heads of `vit`, then the user's layers."""
        return [self.layers[name] for name in HEADS if name in self.layers] + list(self.own_head)

    @property
    def classifiers(self) -> list[keras.layers.Dense]:
        """The dense layers that give the logits: one, both of a distilled model, or none."""
        last = find_classifier(self.own_head)
        return [last] if last is not None else [self.layers[name] for name in HEADS if name in self.layers]

    @property
    def features(self) -> keras.KerasTensor:
        """Input of the first classifier; the model's output without one."""
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
        """Returns the weights by their names in a model of only these parts."""
        return {weight.path: weight for layer in self.layers.values() for weight in layer.weights} | self.own_weights()

    def own_weights(self) -> dict[str, keras.Variable]:
        """Returns the weights of the user's own layers, by name."""
        return {f"{layer.name}/{weight.name}": weight for layer in self.own_head for weight in layer.weights}


def read_model(model: keras.Model) -> ModelParts:
    """Returns the parts of a model, also of one loaded from a `.keras` file or inside another model.

    Raises `InvalidArgumentError` if `vit` did not build it, or its layers or connections were changed.
    """
    body, outer_layers = _unwrap(model)
    calls = read_calls(body)
    config = read_config(body, calls)
    specs = match_layers(body, calls, config)
    own = [name for name in calls if name not in {spec.name for spec in specs}]
    own_head = (*_read_chain(body, calls, specs[-1].name, own), *outer_layers)
    _check_names(model, specs, own_head)
    layers = {spec.name: calls[spec.name].operation for spec in specs}
    classifier = find_classifier(own_head) or layers.get(HEADS[0])
    head = layers.get("probabilities") or layers.get(HEADS[0])
    activation = "linear" if head is None else read_activation(head)
    return ModelParts(
        config=config,
        num_classes=None if classifier is None else int(classifier.units),
        classifier_activation=None if activation == "linear" else activation,
        layers=layers,
        tensors={IMAGES: body.inputs[0]} | {name: calls[name].output for name in layers},
        pooled=next((spec.inputs[0] for spec in specs if spec.name == HEADS[0]), specs[-1].name),
        own_head=own_head,
        is_nested=body is not model,
    )


def _unwrap(model: keras.Model) -> tuple[keras.Model, list[keras.layers.Layer]]:
    """Returns the innermost model, and the layers after it in the models around it."""
    outer_layers: list[keras.layers.Layer] = []
    body = model
    while True:
        _check_functional(model, body)
        inner = [layer for layer in body.layers if isinstance(layer, keras.Model)]
        if not inner:
            return body, outer_layers
        calls = read_calls(body)
        if len(inner) > 1 or calls.get(inner[0].name) is None or calls[inner[0].name].inputs != (IMAGES,):
            names = [layer.name for layer in inner]
            raise refuse(
                model,
                f"it contains the models {list_words(names)}, and one model that reads the images unchanged is expected",
                f"Use the inner model: model.get_layer({names[0]!r}). {PIXELS}model.save('model.keras') saves the whole model.",
            )
        own = [name for name in calls if name != inner[0].name]
        outer_layers = [*_read_chain(body, calls, inner[0].name, own), *outer_layers]
        body = inner[0]


def _check_functional(model: keras.Model, body: keras.Model) -> None:
    try:
        inputs, outputs = body.inputs, body.outputs
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not inputs or not outputs:
        raise InvalidArgumentError(
            f"The model {body.name!r} was not made by vit_keras.vit, so it has no ViTConfig: it is not a functional model. Use the model "
            "inside it that vit_keras.vit made."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise refuse(
            model,
            f"it has {_count(len(inputs), 'input')} ({', '.join(tensor.name for tensor in inputs)}) and "
            f"{_count(len(outputs), 'output')} ({', '.join(tensor._keras_history.operation.name for tensor in outputs)}), and one of "
            "each is expected",
        )
    defining = next(kind for kind in type(body).__mro__ if "call" in vars(kind))
    if not defining.__module__.startswith("keras."):
        raise refuse(model, f"its class {defining.__name__} has its own call method")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _read_chain(model: keras.Model, calls: Calls, start: str, names: list[str]) -> list[keras.layers.Layer]:
    """Returns the layers between one layer and the model's output, which must be a chain of simple layers."""
    chain: list[keras.layers.Layer] = []
    last = start
    for name in names:  # in the order of the forward pass
        call = calls[name]
        layer = describe(calls, (name,))
        if call.inputs != (last,):
            reads = describe(calls, call.inputs) or "nothing"
            raise refuse(model, f"{layer} reads {reads}; only a chain of layers may follow {last!r}")
        problem = find_problem(call.operation)
        if problem is not None:
            raise refuse(model, f"{last!r} is followed by {layer}, and {problem}")
        if call.keywords.get("training"):
            raise refuse(model, f"{last!r} is followed by {layer}, called with training=True, which is permanent")
        chain.append(call.operation)
        last = name
    return chain


def _check_names(model: keras.Model, specs: list[LayerSpec], own_head: tuple[keras.layers.Layer, ...]) -> None:
    names = [spec.name for spec in specs] + [layer.name for layer in own_head]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise refuse(
            model,
            f"{list_words(repeated)} name a layer of vit and one after it, which can't be in one model",
            "Rename your layers: keras.layers.Dense(..., name='my_head').",
        )
