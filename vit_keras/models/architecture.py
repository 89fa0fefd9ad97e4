"""The layers of a Vision Transformer in the order of the forward pass, as data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.layers import (
    AttentionPooling,
    ConvStem,
    PackedIndices,
    PackedPatches,
    PatchEncoder,
    Patches,
    PatchIndices,
    PixelNormalization,
    RelativePositionBias,
    TokenPooling,
    TransformerBlock,
)
from vit_keras.layers.differential_attention import lambda_init_of
from vit_keras.layers.layer_norm import NORMS

IMAGES = "images"
"""Name of the model's input."""

PATCH_INDICES = "patch_indices"
"""Name of the layer that says the row and column of each token."""

HEADS = ("head", "head_distillation")
"""Names of the classification heads."""

ENCODER_FIELDS = (
    "hidden_dim", "class_token", "distillation_token", "num_registers", "position_embedding", "position_on_prefix",
    "position_resize", "patch_resize",
)  # fmt: skip
"""Fields of `ViTConfig` that `PatchEncoder` takes under the same names."""

BLOCK_FIELDS = (
    "num_heads", "mlp_dim", "activation", "gated_mlp", "mlp_inner_norm", "qkv_bias", "qk_norm", "attention_inner_norm", "norm_epsilon",
    "layer_scale", "dropout_rate", "attention_dropout_rate", "remat", "projection_bias", "norm", "block_norm",
)  # fmt: skip
"""Fields of `ViTConfig` that every `TransformerBlock` takes under the same names."""


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """One layer of the model; `inputs` are the names of the layers whose outputs it reads, or `IMAGES`."""

    name: str
    kind: type[keras.layers.Layer]
    arguments: dict[str, Any]
    inputs: tuple[str, ...]
    keywords: dict[str, str] = field(
        default_factory=dict
    )  # inputs that are keyword arguments, each with its layer's name


def layer_specs(
    config: ViTConfig, *, num_classes: int | None = None, classifier_activation: str | None = None
) -> list[LayerSpec]:
    """Returns the layers in the order of the forward pass; the last one's output is the model's.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, figure 1.
    """
    specs: list[LayerSpec] = []
    _add_encoder(specs, config)
    outputs = _add_features(specs, config)
    if num_classes is not None:
        outputs = _add_heads(specs, outputs, num_classes, classifier_activation if len(outputs) == 1 else None)
    if len(outputs) > 1:
        average = {} if num_classes is None else {"dtype": "float32"}  # as the heads
        _add(specs, "average", keras.layers.Average, outputs, **average)
        if classifier_activation is not None:
            _add(specs, "probabilities", keras.layers.Activation, activation=classifier_activation, dtype="float32")
    return specs


def stochastic_depth_rates(rate: float, num_layers: int) -> list[float]:
    """Returns the rate of each block, which rises linearly from 0 to `rate`; a single block has `rate`.

    >>> stochastic_depth_rates(0.2, 3)
    [0.0, 0.1, 0.2]
    """
    return [rate * float(depth) for depth in np.linspace(1, 0, num_layers)[::-1]]


def _add(
    specs: list[LayerSpec], name: str, kind: type[keras.layers.Layer], inputs: Sequence[str] = (), /, **arguments: Any
) -> str:
    """Appends a layer, which by default reads the last layer's output, and returns its name."""
    last = specs[-1].name if specs else IMAGES
    specs.append(LayerSpec(name=name, kind=kind, arguments=arguments, inputs=tuple(inputs) or (last,)))
    return name


def _add_encoder(specs: list[LayerSpec], config: ViTConfig) -> None:
    prefix, more = config.num_prefix_tokens, list[str]()
    _add(specs, "normalization", PixelNormalization, mean=config.pixel_mean, std=config.pixel_std)
    if config.max_num_patches is not None:
        patches = _add(specs, "patches", PackedPatches)
        more = [_add(specs, PATCH_INDICES, PackedIndices, [IMAGES], num_prefix_tokens=prefix)]
    elif config.stem == "conv":
        patches = _add(
            specs, "conv_stem", ConvStem, patch_size=config.patch_size, hidden_dim=config.hidden_dim,
            as_grid=config.dynamic_image_size,
        )  # fmt: skip
    else:
        patches = _add(
            specs, "patches", Patches, patch_size=config.patch_size, as_grid=config.dynamic_image_size,
            partial_patches=config.partial_patches,
        )  # fmt: skip
    patch_norm = {"patch_norm": config.norm, "norm_epsilon": config.norm_epsilon} if config.patch_norm else {}
    _add(
        specs, "patch_encoder", PatchEncoder, [patches, *more], use_bias=config.patch_bias, grid_size=config.grid_size,
        dropout_rate=config.dropout_rate, **patch_norm, **{name: getattr(config, name) for name in ENCODER_FIELDS},
    )  # fmt: skip
    if config.stem_norm:
        _add(specs, "stem_norm", NORMS[config.norm], epsilon=config.norm_epsilon)
    tokens = specs[-1].name
    if config.dynamic_image_size and config.rotary_embedding != "none":
        more = [_add(specs, PATCH_INDICES, PatchIndices, [patches], num_prefix_tokens=prefix)]
    relative_position, keywords = _relative_position(config), dict[str, str]()
    if relative_position is not None and config.relative_position_shared:
        own = {**relative_position, "num_heads": config.num_heads}
        keywords["attention_bias"] = _add(specs, "relative_position", RelativePositionBias, **own)
        relative_position = None
    fields = {name: getattr(config, name) for name in BLOCK_FIELDS}
    for index, rate in enumerate(stochastic_depth_rates(config.stochastic_depth_rate, config.num_layers)):
        own = {
            "parallel": config.parallel_block,
            "rotary": _rotary(config),
            "relative_position": relative_position,
            "differential_lambda": lambda_init_of(index) if config.differential_attention else None,
            "stochastic_depth_rate": rate,
        }
        tokens = _add(specs, f"block_{index:02d}", TransformerBlock, [tokens, *more], **own, **fields)
        specs[-1].keywords.update(keywords)


def _add_features(specs: list[LayerSpec], config: ViTConfig) -> list[str]:
    """Adds norm and pooling; returns the names of the layers whose outputs the heads read."""
    prefix = config.num_prefix_tokens
    if config.final_norm == "before":
        _add(specs, "final_norm", NORMS[config.norm], epsilon=config.norm_epsilon)
    tokens = specs[-1].name
    inputs = [tokens] if config.max_num_patches is None else [tokens, PATCH_INDICES]
    if config.pooling == "map":
        _add(
            specs, "pooling", AttentionPooling, inputs, num_heads=config.num_map_heads or config.num_heads,
            mlp_dim=config.map_mlp_dim or config.mlp_dim, activation=config.activation, norm=config.norm,
            norm_epsilon=config.norm_epsilon, num_skipped_tokens=0 if config.map_includes_prefix else prefix,
        )  # fmt: skip
    else:
        _add(specs, "pooling", TokenPooling, inputs, pooling=config.pooling, num_prefix_tokens=prefix)
    if config.final_norm == "after":
        _add(specs, "final_norm", NORMS[config.norm], epsilon=config.norm_epsilon)
    if config.pre_logits_dim is not None:
        _add(specs, "pre_logits", keras.layers.Dense, units=config.pre_logits_dim, activation="tanh")
    features = [specs[-1].name]
    if config.has_two_heads:
        pooling = {"pooling": "distillation", "num_prefix_tokens": prefix}
        features.append(_add(specs, "distillation_pooling", TokenPooling, [tokens], **pooling))
    return features


def _add_heads(specs: list[LayerSpec], features: list[str], num_classes: int, activation: str | None) -> list[str]:
    """Adds a head for each of the features; returns the heads' names."""
    # Half precision would lose the difference between close classes.
    arguments: dict[str, Any] = {
        "units": num_classes,
        "activation": activation,
        "kernel_initializer": "zeros",
        "dtype": "float32",
    }
    names = zip(HEADS, features, strict=False)
    return [_add(specs, head, keras.layers.Dense, [name], **arguments) for head, name in names]


def _rotary(config: ViTConfig) -> dict[str, Any] | None:
    if config.rotary_embedding == "none":
        return None
    return {
        "kind": config.rotary_embedding,
        "grid_size": list(config.grid_size),
        "temperature": config.rotary_temperature,
        "order": config.rotary_order,
        "reference": list(config.rotary_reference) if config.rotary_reference else None,
        **({"offset": config.rotary_offset} if config.rotary_offset else {}),  # files of earlier versions have none
    }


def _relative_position(config: ViTConfig) -> dict[str, Any] | None:
    if config.relative_position == "none":
        return None
    return {
        "kind": config.relative_position,
        "grid_size": list(config.grid_size),
        "num_prefix_tokens": config.num_prefix_tokens,
        "hidden_dim": config.relative_position_dim,
    }
