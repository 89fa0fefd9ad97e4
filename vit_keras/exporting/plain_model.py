"""The plain model of a model: float32, without LoRA matrices and quantized weights, in one graph."""

from collections.abc import Mapping

import keras
import numpy as np

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.adapted_block import AdaptedBlock
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.runtime.precision import dtype_policy
from vit_keras.zoo.model_end import ModelEnd

ABOUT_OUTPUTS = ("class_names", "task", "threshold")


def plain_model(model: keras.Model, *, classifier_activation: str | None = None) -> keras.Model:
    """Returns a model with the same outputs that computes in float32, with the LoRA matrices added to its weights.

    Weights quantized to int8 are the numbers that they stand for; the inputs of its layers are not rounded any more.

    Args:
        model: A model that `vit` or `from_preset` made; it is not changed.
        classifier_activation: "softmax" or "sigmoid" for probabilities; None for the model's own end.

    Raises:
        InvalidArgumentError: vit_keras did not make the model, or it has layers or quantized weights that can't be expressed.
    """
    parts = read_model(model)
    end = ModelEnd.from_parts(parts)
    with dtype_policy("float32"):
        plain = end.build_model(
            parts.config, num_classes=parts.num_classes, classifier_activation=None, name=model.name
        )
    arrays = plain_weights(parts)
    for name, weight in read_model(plain).weights().items():
        weight.assign(arrays[name])
    for name in ABOUT_OUTPUTS:
        setattr(plain, name, getattr(model, name, None))
    if classifier_activation is not None:
        plain = end.adapt(plain, num_classes=None, classifier_activation=classifier_activation)
    return plain


def plain_weights(parts: ModelParts) -> dict[str, np.ndarray]:
    """Returns the weights of a plain model by name, float32."""
    variables = parts.weights()
    arrays = {name: _to_float32(name, variables) for name in variables}
    for block in parts.blocks:
        for adapter in block.adapted if isinstance(block, AdaptedBlock) else ():
            down, up = (_array(weight) for weight in (adapter.adapter_down, adapter.adapter_up))
            kernel = arrays[adapter.kernel.path].copy()
            kernel[:, adapter.columns] += adapter.scale * (down @ up)
            arrays[adapter.kernel.path] = kernel
    return arrays


def _to_float32(name: str, variables: Mapping[str, keras.Variable]) -> np.ndarray:
    """Returns a weight, multiplied out where it is quantized."""
    variable = variables[name]
    scale = variables.get(f"{name}_scale")
    if scale is None:
        return _array(variable)
    rounded, divisor = _array(variable), _array(scale)
    if keras.backend.standardize_dtype(variable.dtype) != "int8" or divisor.shape != rounded.shape[-1:]:
        raise InvalidArgumentError(
            f"{name} is quantized in a way that can't be exported; quantize('int8') can. Use the model as it was before quantize(), "
            'and ask the export for precision="int8".'
        )
    weight: np.ndarray = rounded / divisor
    return weight


def _array(weight: keras.Variable) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))
