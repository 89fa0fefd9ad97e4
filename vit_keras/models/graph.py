"""The calls in a functional model's graph, and the error for graphs that vit_keras can't use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.architecture import IMAGES

REMEDY = (
    "Save the whole model with model.save('model.keras'), or use the part that vit_keras.vit built: the model that you started with, "
    "or keras.Model(images, logits) of it."
)
PIXELS = (
    "vit_keras models take pixels 0..255 and normalize them inside: for another range of pixels, build the model with other "
    "pixel_mean and pixel_std (for 0..1, those of 0..255 divided by 255). "
)


@dataclass(frozen=True)
class Call:
    """One call of a layer: the names of the layers (or `IMAGES`) that it reads, and the keywords that are not None."""

    operation: Any
    inputs: tuple[str, ...]
    output: keras.KerasTensor
    keywords: dict[str, Any]


Calls: TypeAlias = Mapping[str, Call]
"""Calls by the layer's name, in the order of the forward pass."""


def read_calls(model: keras.Model) -> Calls:
    """Returns the calls between the input and the output of a functional model with one of each.

    Raises `InvalidArgumentError` if a layer is used more than once.
    """
    calls: dict[str, Call] = {}
    start = model.inputs[0]

    def visit(tensor: keras.KerasTensor) -> str:
        if tensor is start:
            return IMAGES
        history = tensor._keras_history
        operation = history.operation
        call = calls.get(operation.name)
        if call is None:
            arguments = operation._inbound_nodes[history.node_index].arguments
            inputs = tuple(visit(each) for each in arguments.keras_tensors)
            keywords = {name: value for name, value in arguments.kwargs.items() if value is not None}
            call = calls.setdefault(operation.name, Call(operation, inputs, tensor, keywords))
        if call.output is not tensor:
            raise refuse(model, f"the layer {operation.name!r} is used more than once")
        return str(operation.name)

    visit(model.outputs[0])
    return calls


def describe(calls: Calls, names: tuple[str, ...]) -> str:
    """Returns layers (or `IMAGES`) as messages name them."""
    return " and ".join(
        "the images"
        if name == IMAGES
        else f"{name!r}" + (f" ({type(calls[name].operation).__name__})" if name in calls else "")
        for name in names
    )


def refuse(model: keras.Model, what: str, remedy: str = REMEDY) -> InvalidArgumentError:
    """Returns the error for a model that `vit` did not build: what differs, and how to fix it."""
    return InvalidArgumentError(
        f"The model {model.name!r} is not one that vit_keras.vit builds, with at most simple Keras layers after it: {what}. {remedy}"
    )
