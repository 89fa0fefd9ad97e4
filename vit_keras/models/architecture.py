"""The layers of a Vision Transformer as data: what each is, its arguments, and whose outputs it reads."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
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

IMAGES = "images"
"""What the first layer reads: the model's input."""

HEADS = ("head", "head_distillation")
"""Names of the layers that classify."""


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """One layer of the model.

    Args:
        name: The layer's name.
        kind: Its class.
        arguments: What its constructor is given, the name apart.
        inputs: Names of the layers whose outputs it reads, or `IMAGES`.
    """

    name: str
    kind: type[keras.layers.Layer]
    arguments: dict[str, Any]
    inputs: tuple[str, ...]

    def build(self) -> keras.layers.Layer:
        """Returns a new layer."""
        return self.kind(**self.arguments, name=self.name)


def layer_specs(
    config: ViTConfig, *, num_classes: int | None = None, classifier_activation: str | None = None
) -> list[LayerSpec]:
    """Returns the layers in the order of the forward pass; the last one's output is the model's.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 1.

    Args:
        config: What to build.
        num_classes: Classes of the head; None for none.
        classifier_activation: What the head ends in; None for logits.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=1, num_heads=2, mlp_dim=128)
        >>> [spec.name for spec in layer_specs(config, num_classes=10)][-4:]
        ['block_00', 'final_norm', 'pooling', 'head']
    """
    order = _Order([])
    _add_encoder(order, config)
    outputs = _add_features(order, config)
    if num_classes is not None:
        outputs = _add_heads(order, outputs, num_classes, classifier_activation if len(outputs) == 1 else None)
    if len(outputs) > 1:
        # Logits are in float32, as each head gives them.
        order.add("average", keras.layers.Average, *outputs, **({} if num_classes is None else {"dtype": "float32"}))
        if classifier_activation is not None:
            order.add("probabilities", keras.layers.Activation, activation=classifier_activation, dtype="float32")
    return order.specs


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


@dataclass(frozen=True)
class _Order:
    """Layers in the order of the forward pass."""

    specs: list[LayerSpec]

    @property
    def last(self) -> str:
        """Name of the last layer."""
        return self.specs[-1].name if self.specs else IMAGES

    def add(self, name: str, kind: type[keras.layers.Layer], *inputs: str, **arguments: Any) -> None:
        """Adds a layer that reads these inputs, by default the last layer's output."""
        self.specs.append(LayerSpec(name=name, kind=kind, arguments=arguments, inputs=inputs or (self.last,)))


def _add_encoder(order: _Order, config: ViTConfig) -> None:
    order.add("normalization", PixelNormalization, mean=config.pixel_mean, std=config.pixel_std)
    if config.stem == "conv":
        order.add("conv_stem", ConvStem, patch_size=config.patch_size, hidden_dim=config.hidden_dim)
    else:
        order.add("patches", Patches, patch_size=config.patch_size)
    order.add(
        "patch_encoder",
        PatchEncoder,
        hidden_dim=config.hidden_dim,
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
    )
    if config.stem_norm:
        order.add("stem_norm", LayerNorm, epsilon=config.norm_epsilon)
    for index, skipped in enumerate(stochastic_depth_rates(config.stochastic_depth_rate, config.num_layers)):
        order.add(
            f"block_{index:02d}",
            TransformerBlock,
            num_heads=config.num_heads,
            mlp_dim=config.mlp_dim,
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
        )


def _add_features(order: _Order, config: ViTConfig) -> list[str]:
    """Adds what makes features of tokens; returns the layers whose outputs the heads see."""
    prefix = config.num_prefix_tokens
    if config.final_norm == "before":
        order.add("final_norm", LayerNorm, epsilon=config.norm_epsilon)
    tokens = order.last
    if config.pooling == "map":
        order.add(
            "pooling",
            AttentionPooling,
            num_heads=config.num_heads,
            mlp_dim=config.mlp_dim,
            activation=config.activation,
            norm_epsilon=config.norm_epsilon,
            num_skipped_tokens=0 if config.map_includes_prefix else prefix,
        )
    else:
        order.add("pooling", TokenPooling, pooling=config.pooling, num_prefix_tokens=prefix)
    if config.final_norm == "after":
        order.add("final_norm", LayerNorm, epsilon=config.norm_epsilon)
    if config.pre_logits_dim is not None:
        order.add("pre_logits", keras.layers.Dense, units=config.pre_logits_dim, activation="tanh")
    features = [order.last]
    if config.has_two_heads:
        order.add("distillation_pooling", TokenPooling, tokens, pooling="distillation", num_prefix_tokens=prefix)
        features.append(order.last)
    return features


def _add_heads(order: _Order, features: list[str], num_classes: int, activation: str | None) -> list[str]:
    """Adds a head behind each of the features; returns their names."""
    heads = list(HEADS[: len(features)])
    for head, seen in zip(heads, features, strict=True):
        # Logits in half precision would lose the difference between close classes.
        order.add(
            head,
            keras.layers.Dense,
            seen,
            units=num_classes,
            activation=activation,
            kernel_initializer="zeros",
            dtype="float32",
        )
    return heads


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
