"""A `ViTConfig` becomes a `keras.Model`, and back."""

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import (
    AttentionPooling,
    ConvStem,
    PatchEncoder,
    Patches,
    PixelNormalization,
    TokenPooling,
    TransformerBlock,
)


def vit(
    config: ViTConfig, *, num_classes: int | None = None, classifier_activation: str | None = None, name: str = "vit"
) -> keras.Model:
    """Returns a Vision Transformer that takes pixels 0..255.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 1.

    Args:
        config: What to build.
        num_classes: Classes of the head, which starts at zero; None leaves the pooled features.
        classifier_activation: What the head ends in, "softmax" for probabilities; None for logits.
        name: The model's name.

    Returns:
        A functional model: images `(batch, height, width, channels)` in; logits `(batch, num_classes)` in float32, or
        features `(batch, config.feature_dim)`, out.

    Raises:
        InvalidArgumentError: `num_classes` is not positive, or an activation is given without classes.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=192, num_layers=9, num_heads=3, mlp_dim=384)
        >>> model = vit(config, num_classes=10)
        >>> model.output_shape, model.count_params() == config.num_params + 1930
        ((None, 10), True)
    """
    if num_classes is not None and (type(num_classes) is not int or num_classes < 1):
        raise InvalidArgumentError(
            f"num_classes={num_classes!r} is not a positive whole number; None leaves the head out."
        )
    if classifier_activation is not None and num_classes is None:
        raise InvalidArgumentError(f"classifier_activation={classifier_activation!r} needs num_classes.")

    images = keras.Input((*config.image_size, config.channels), name="images")
    patches = _stem(config)(PixelNormalization(config.pixel_mean, config.pixel_std, name="normalization")(images))
    tokens = PatchEncoder(
        config.hidden_dim,
        class_token=config.class_token,
        position_embedding=config.position_embedding,
        grid_size=config.grid_size,
        dropout_rate=config.dropout_rate,
        name="patch_encoder",
    )(patches)
    for index, depth in enumerate(np.linspace(1, 0, config.num_layers)[::-1]):  # the last block is at depth 1
        tokens = TransformerBlock(
            config.num_heads,
            config.mlp_dim,
            activation=config.activation,
            norm_epsilon=config.norm_epsilon,
            layer_scale=config.layer_scale,
            dropout_rate=config.dropout_rate,
            attention_dropout_rate=config.attention_dropout_rate,
            stochastic_depth_rate=config.stochastic_depth_rate * float(depth),
            remat=config.remat,
            name=f"block_{index:02d}",
        )(tokens)
    tokens = keras.layers.LayerNormalization(epsilon=config.norm_epsilon, name="final_norm")(tokens)
    outputs = _pooling(config)(tokens)
    if num_classes is not None:
        # Logits in half precision would lose the difference between close classes.
        outputs = keras.layers.Dense(
            num_classes, activation=classifier_activation, kernel_initializer="zeros", dtype="float32", name="head"
        )(outputs)
    return keras.Model(images, outputs, name=name)


def _stem(config: ViTConfig) -> keras.layers.Layer:
    if config.stem == "conv":
        return ConvStem(config.patch_size, config.hidden_dim, name="conv_stem")
    return Patches(config.patch_size, name="patches")


def _pooling(config: ViTConfig) -> keras.layers.Layer:
    if config.pooling == "map":
        return AttentionPooling(
            config.num_heads,
            config.mlp_dim,
            activation=config.activation,
            norm_epsilon=config.norm_epsilon,
            name="pooling",
        )
    return TokenPooling(config.pooling, class_token=config.class_token, name="pooling")


def config_of(model: keras.Model) -> ViTConfig:
    """Returns the config that `vit` built this model from, also after `.keras` saved and loaded it.

    Raises:
        InvalidArgumentError: The model was not made by `vit`.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> config_of(vit(config)) == config
        True
    """
    layers = {layer.name: layer for layer in model.layers}
    blocks = [layer for layer in model.layers if isinstance(layer, TransformerBlock)]
    stem = layers.get("patches") or layers.get("conv_stem")
    if not blocks or stem is None or not {"normalization", "patch_encoder", "pooling"} <= layers.keys():
        raise InvalidArgumentError(f"The model {model.name!r} was not made by vit_keras.vit, so it has no ViTConfig.")
    encoder, pooling, block = layers["patch_encoder"], layers["pooling"], blocks[-1]
    _, height, width, channels = model.input_shape
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
            "class_token": encoder.class_token,
            "position_embedding": encoder.position_embedding,
            "pooling": "map" if isinstance(pooling, AttentionPooling) else pooling.pooling,
            "norm_epsilon": block.norm_epsilon,
            "activation": block.activation,
            "layer_scale": block.layer_scale,
            "dropout_rate": block.dropout_rate,
            "attention_dropout_rate": block.attention_dropout_rate,
            "stochastic_depth_rate": block.stochastic_depth_rate,
            "remat": block.remat,
        }
    )


def num_classes_of(model: keras.Model) -> int | None:
    """Returns how many classes the model's head tells apart, or None where it has no head."""
    head = {layer.name: layer for layer in model.layers}.get("head")
    return head.units if head is not None else None
