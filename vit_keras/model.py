"""A `ViTConfig` becomes a `keras.Model`, and back."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import (
    AttentionPooling,
    ConvStem,
    LayerNorm,
    PatchEncoder,
    Patches,
    PixelNormalization,
    TokenPooling,
    TransformerBlock,
)
from vit_keras.vision_transformer import VisionTransformer


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
        use_bias=config.patch_bias,
        class_token=config.class_token,
        distillation_token=config.distillation_token,
        num_registers=config.num_registers,
        position_embedding=config.position_embedding,
        position_on_prefix=config.position_on_prefix,
        position_resize=config.position_resize,
        patch_resize=config.patch_resize,
        grid_size=config.grid_size,
        dropout_rate=config.dropout_rate,
        name="patch_encoder",
    )(patches)
    if config.stem_norm:
        tokens = _norm(config, "stem_norm")(tokens)
    for index, skipped in enumerate(stochastic_depth_rates(config.stochastic_depth_rate, config.num_layers)):
        tokens = TransformerBlock(
            config.num_heads,
            config.mlp_dim,
            parallel=config.parallel_block,
            activation=config.activation,
            gated_mlp=config.gated_mlp,
            mlp_inner_norm=config.mlp_inner_norm,
            qkv_bias=config.qkv_bias,
            qk_norm=config.qk_norm,
            rotary=_rotary(config),
            norm_epsilon=config.norm_epsilon,
            layer_scale=config.layer_scale,
            dropout_rate=config.dropout_rate,
            attention_dropout_rate=config.attention_dropout_rate,
            stochastic_depth_rate=skipped,
            remat=config.remat,
            name=f"block_{index:02d}",
        )(tokens)
    features = _features(config, tokens)
    if num_classes is not None:
        activation = classifier_activation if len(features) == 1 else None
        features = {head: _head(head, num_classes, activation)(vector) for head, vector in features.items()}
    outputs = next(iter(features.values()))
    if len(features) > 1:
        dtype = "float32" if num_classes is not None else None  # logits are, as each head gives them
        outputs = keras.layers.Average(dtype=dtype, name="average")(list(features.values()))
        if classifier_activation is not None:
            outputs = keras.layers.Activation(classifier_activation, dtype="float32", name="probabilities")(outputs)
    return VisionTransformer(images, outputs, name=name)


def stochastic_depth_rates(rate: float, num_layers: int) -> list[float]:
    """Returns the rate of each block, rising evenly from none at the first to all of it at the last; a single block is the last.

    Args:
        rate: Of the last block.
        num_layers: Blocks.

    Example:
        >>> stochastic_depth_rates(0.2, 3)
        [0.0, 0.1, 0.2]
    """
    return [rate * float(depth) for depth in np.linspace(1, 0, num_layers)[::-1]]


def _stem(config: ViTConfig) -> keras.layers.Layer:
    if config.stem == "conv":
        return ConvStem(config.patch_size, config.hidden_dim, name="conv_stem")
    return Patches(config.patch_size, name="patches")


def _rotary(config: ViTConfig) -> dict[str, Any] | None:
    if config.rotary_embedding == "none":
        return None
    return {
        "kind": config.rotary_embedding,
        "grid_size": list(config.grid_size),
        "temperature": config.rotary_temperature,
        "order": config.rotary_order,
        "reference": list(config.rotary_reference) if config.rotary_reference else None,
    }


def _features(config: ViTConfig, tokens: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """Returns what each head sees, by the head's name."""
    if config.final_norm == "before":
        tokens = _norm(config, "final_norm")(tokens)
    seen = _pooling(config)(tokens)
    if config.final_norm == "after":
        seen = _norm(config, "final_norm")(seen)
    if config.pre_logits_dim is not None:
        seen = keras.layers.Dense(config.pre_logits_dim, activation="tanh", name="pre_logits")(seen)
    features = {"head": seen}
    if config.has_two_heads:
        features["head_distillation"] = TokenPooling(
            "distillation", num_prefix_tokens=config.num_prefix_tokens, name="distillation_pooling"
        )(tokens)
    return features


def _norm(config: ViTConfig, name: str) -> keras.layers.Layer:
    return LayerNorm(epsilon=config.norm_epsilon, name=name)


def _pooling(config: ViTConfig) -> keras.layers.Layer:
    if config.pooling == "map":
        return AttentionPooling(
            config.num_heads,
            config.mlp_dim,
            activation=config.activation,
            norm_epsilon=config.norm_epsilon,
            num_skipped_tokens=0 if config.map_includes_prefix else config.num_prefix_tokens,
            name="pooling",
        )
    return TokenPooling(config.pooling, num_prefix_tokens=config.num_prefix_tokens, name="pooling")


def _head(name: str, num_classes: int, activation: str | None) -> keras.layers.Layer:
    # Logits in half precision would lose the difference between close classes.
    return keras.layers.Dense(
        num_classes, activation=activation, kernel_initializer="zeros", dtype="float32", name=name
    )


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
    names = list(layers)
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
            "pre_logits_dim": layers["pre_logits"].units if "pre_logits" in layers else None,
            "pooling": "map" if isinstance(pooling, AttentionPooling) else pooling.pooling,
            "map_includes_prefix": not (isinstance(pooling, AttentionPooling) and pooling.num_skipped_tokens),
            "final_norm": "before" if names.index("final_norm") < names.index("pooling") else "after",
            "norm_epsilon": block.norm_epsilon,
            "activation": block.activation,
            "layer_scale": block.layer_scale,
            "dropout_rate": block.dropout_rate,
            "attention_dropout_rate": block.attention_dropout_rate,
            "stochastic_depth_rate": block.stochastic_depth_rate,
            "remat": block.remat,
        }
    )


def _rotary_fields(rotary: dict[str, Any] | None) -> dict[str, Any]:
    if rotary is None:
        return {}
    return {
        "rotary_embedding": rotary["kind"],
        "rotary_temperature": rotary["temperature"],
        "rotary_order": rotary["order"],
        "rotary_reference": rotary["reference"],
    }


def weight_shapes(config: ViTConfig, *, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight that `vit` would make, by name; no weight is allocated, so any size takes no memory.

    Args:
        config: What to build.
        num_classes: Classes of the head; None for none.

    Raises:
        InvalidArgumentError: `num_classes` is not a positive number.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> weight_shapes(config)["block_01/attention/qkv/kernel"]
        (64, 192)
    """

    def build() -> dict[str, tuple[int, ...]]:
        with keras.StatelessScope(initialize_variables=False):
            model = vit(config, num_classes=num_classes)
        return {weight.path: tuple(weight.shape) for weight in model.weights}

    # Keras keeps a list, one a thread, of variables it has yet to fill: a thread of their own lets these be forgotten.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(build).result()


def num_classes_of(model: keras.Model) -> int | None:
    """Returns how many classes the model's head tells apart, or None where it has no head."""
    head = {layer.name: layer for layer in model.layers}.get("head")
    return head.units if head is not None else None


def check_not_quantized(model: keras.Model, action: str) -> None:
    """Raises `InvalidArgumentError` for a model with quantized weights.

    Args:
        model: Any model.
        action: What can't be done with it.
    """
    modes = sorted({layer.quantization_mode for layer in model._flatten_layers()} - {None})
    if modes:
        raise InvalidArgumentError(
            f"{action} needs weights in floating point, and the model {model.name!r} is quantized ({', '.join(modes)}). Use the model "
            "as it was before quantize(); model.save(PATH.keras) keeps a quantized one."
        )
