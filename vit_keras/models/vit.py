"""Builds a `keras.Model` from a `ViTConfig`, and reads the config of a model."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.architecture import IMAGES, layer_specs
from vit_keras.models.keras_model import VisionTransformer
from vit_keras.models.own_head import check_activation
from vit_keras.models.wiring import read_model


def vit(
    config: ViTConfig,
    *,
    num_classes: int | None = None,
    classifier_activation: str | None = None,
    name: str = "vit",
    **changes: Any,
) -> keras.Model:
    """Returns a Vision Transformer that takes pixels 0..255.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 1.

    Args:
        config: The architecture.
        num_classes: Classes of the head, which is initialized with zeros; None for a model that returns features.
        classifier_activation: Activation of the head, such as "softmax" for probabilities; None or "linear" for logits.
        name: The model's name.
        **changes: Fields of `ViTConfig` in place of the config's.

    Returns:
        A functional model: images `(batch, height, width, channels)` in, packed ones with `config.max_num_patches`; logits `(batch, num_classes)` in float32, or
        features `(batch, config.feature_dim)`, out.

    Raises:
        InvalidArgumentError: `num_classes` is not positive, an activation is unknown or given without classes, `name` is no name, or a
            change is unknown or illegal.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=192, num_layers=9, num_heads=3, mlp_dim=384)
        >>> model = vit(config, num_classes=10)
        >>> model.output_shape, model.count_params() == config.num_params + 1930
        ((None, 10), True)
    """
    config = config.replace(**changes)
    if num_classes is not None and (type(num_classes) is not int or num_classes < 1):
        raise InvalidArgumentError(f"num_classes={num_classes!r} is not a positive integer; None leaves out the head.")
    if classifier_activation is not None and num_classes is None:
        raise InvalidArgumentError(f"classifier_activation={classifier_activation!r} needs num_classes.")

    if isinstance(classifier_activation, str):
        check_activation(classifier_activation, what="classifier_activation")
    if not isinstance(name, str) or not name or "/" in name:
        raise InvalidArgumentError(f"name={name!r} is not a model's name: expected a string without '/'.")
    if classifier_activation == "linear":
        classifier_activation = None
    shape = (None, None, config.channels) if config.dynamic_image_size else config.image_shape
    tensors = {IMAGES: keras.Input(shape, name=IMAGES)}
    specs = layer_specs(config, num_classes=num_classes, classifier_activation=classifier_activation)
    for spec in specs:
        layer, inputs = spec.kind(**spec.arguments, name=spec.name), [tensors[name] for name in spec.inputs]
        keywords = {argument: tensors[name] for argument, name in spec.keywords.items()}
        tensors[spec.name] = layer(inputs) if spec.kind is keras.layers.Average else layer(*inputs, **keywords)
    return VisionTransformer(tensors[IMAGES], tensors[specs[-1].name], name=name)


def append_layers(model: keras.Model, layers: Sequence[keras.layers.Layer]) -> keras.Model:
    """Returns a model with more layers after its output, which shares the layers of the first; without any, the model itself."""
    if not layers:
        return model
    output = model.output
    for layer in layers:
        output = layer(output)
    return VisionTransformer(model.input, output, name=model.name)


def model_config(model: keras.Model) -> ViTConfig:
    """Returns the config of a model that `vit` built, also of one loaded from a `.keras` file.

    Simple Keras layers may follow, such as your own head.

    Raises:
        InvalidArgumentError: `vit` did not build the model, or its layers or connections were changed.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> model_config(vit(config)) == config
        True
    """
    return read_model(model).config


def weight_shapes(config: ViTConfig, *, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight of the model, by name, without allocating any."""

    def build() -> dict[str, tuple[int, ...]]:
        with keras.StatelessScope(initialize_variables=False):
            model = vit(config, num_classes=num_classes)
        return {weight.path: tuple(weight.shape) for weight in model.weights}

    # Keras keeps a list per thread of variables to initialize later: in a thread of its own it is forgotten.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(build).result()


def model_num_classes(model: keras.Model) -> int | None:
    """Returns the number of classes, of the user's own head, too; None without a head."""
    return read_model(model).num_classes


def check_not_quantized(model: keras.Model, action: str) -> None:
    """Raises `InvalidArgumentError` for a model with quantized weights."""
    modes = sorted({layer.quantization_mode for layer in model._flatten_layers()} - {None})
    if modes:
        raise InvalidArgumentError(
            f"{action} needs floating-point weights, and the model {model.name!r} is quantized ({', '.join(modes)}). Use the model "
            "as it was before quantize(); model.save('model.keras') saves a quantized one."
        )
