"""Training steps of small models on a CPU compared with plain Keras layers, and the fraction of a matrix product's rate.

    python benchmarks/small_models.py [--batch-size 128] [--rounds 15] [--quick]

Models with 0.3 to 1 million parameters and 16 to 64 tokens, float32, `compile` defaults, AdamW, `train_on_batch` on pixels in memory, in turns.
The plain model uses Keras' own layers as in its guides: `Conv2D` patches, `MultiHeadAttention`, `Dense`. The fraction counts the model's
multiply-adds three times (one forward and two backward), relative to a 2,048 x 2,048 matrix product.
"""

import argparse
from typing import Any

import harness
import keras
import numpy as np

import vit_keras as vk
from vit_keras import ViTConfig

PRESETS = ("vit_pico_patch4_28", "vit_pico_patch4_32", "vit_nano_patch4_32", "vit_nano_conv8_32", "vit_nano_conv4_32")
CLASSES = 10


def plain(config: ViTConfig) -> keras.Model:
    """Returns a model of the same shape from Keras' own layers."""
    layers = keras.layers
    rows, columns = (side // config.patch_size for side in config.image_size)
    image = keras.Input((*config.image_size, config.channels))
    patches = layers.Conv2D(config.hidden_dim, config.patch_size, strides=config.patch_size)(
        layers.Rescaling(1 / 255)(image)
    )
    tokens = layers.Reshape((rows * columns, config.hidden_dim))(patches)
    tokens = tokens + layers.Embedding(rows * columns, config.hidden_dim)(keras.ops.arange(rows * columns))
    for _ in range(config.num_layers):
        normed = layers.LayerNormalization(epsilon=config.norm_epsilon)(tokens)
        attention = layers.MultiHeadAttention(config.num_heads, config.hidden_dim // config.num_heads)
        tokens = tokens + attention(normed, normed)
        hidden = layers.Dense(config.mlp_dim, activation="gelu")(
            layers.LayerNormalization(epsilon=config.norm_epsilon)(tokens)
        )
        tokens = tokens + layers.Dense(config.hidden_dim)(hidden)
    tokens = layers.LayerNormalization(epsilon=config.norm_epsilon)(tokens)
    return keras.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens)))


def measured(preset: str, batch_size: int, rounds: int, **changes: int) -> dict[str, Any]:
    """Returns the rates of both models, and ours relative to the matrix product; `changes` are of the config."""
    config = vk.load_preset(preset).config.replace(**changes)
    steps = {
        "vit_keras": harness.keras_steps(vk.vit(config, num_classes=CLASSES), batch_size)["training"],
        "plain_keras": harness.keras_steps(plain(config), batch_size, optimizer="keras")["training"],
    }
    side = 2048 if rounds > 1 else 256
    before = harness.matmul_rate(size=side)
    seconds = harness.interleaved(steps, rounds=rounds)
    peak = max(before, harness.matmul_rate(size=side))
    work = 3 * 2 * config.num_macs * batch_size
    ratio = [theirs / our for theirs, our in zip(seconds["plain_keras"], seconds["vit_keras"], strict=True)]
    rates = {name: harness.spread([batch_size / value for value in values]) for name, values in seconds.items()}
    return {
        "preset": preset,
        "params": config.num_params,
        "tokens": config.num_tokens,
        "batch_size": batch_size,
        "matmul_gflops": peak,
        "share_of_matmul_rate": work / float(np.median(seconds["vit_keras"])) / 1e9 / peak,
        "images_per_second": rates,
        "ours_is_faster": harness.spread(ratio),
        "unreliable": [name for name, found in rates.items() if harness.is_unsteady(found)],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one round of one block")
    options = parser.parse_args()
    presets, rounds = (PRESETS[:1], 1) if options.quick else (PRESETS, options.rounds)
    batch_size, changes = (2, {"num_layers": 1}) if options.quick else (options.batch_size, {})
    load, cells = harness.load(), list[dict[str, Any]]()
    for preset in presets:
        cells.append(measured(preset, batch_size, rounds, **changes))
        print(cells[-1], flush=True)
        keras.utils.clear_session()
    harness.record("small_models", {"load_before": load, "cells": cells}, quick=options.quick)
