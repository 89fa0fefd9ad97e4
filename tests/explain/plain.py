"""What plain numpy computes of a model, for comparison with `vit_keras.explain`."""

import numpy as np
import oracle
import pytest

from vit_keras.models.vit import model_config

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def plain_blocks(model, images):
    """The attention weights and the output of each block in numpy, from `tests/oracle.py`."""
    config, weights = model_config(model), oracle.weights_of(model)
    found, softmax = [], oracle.softmax

    def record(scores):
        found.append(softmax(scores))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "softmax", record)
        logits = oracle.vit(config, weights, images)
    heads = np.stack(found[: config.num_layers * config.num_heads], axis=1)  # (batch, layers x heads, ...)
    maps = heads.reshape(len(images), config.num_layers, config.num_heads, *heads.shape[2:]).swapaxes(0, 1)
    pooled = found[config.num_layers * config.num_heads :]
    return {"maps": maps, "pooled": np.stack(pooled, axis=1)[:, :, 0] if pooled else None, "logits": logits}


def expected_rollout(config, layers, pooled):
    """Abnar and Zuidema's product, spelled out image by image."""
    result = []
    for image in range(layers.shape[1]):
        product = np.eye(layers.shape[-1])
        for layer in layers[:, image]:
            mixed = layer + np.eye(len(layer))
            product = mixed / mixed.sum(1, keepdims=True) @ product
        result.append(seen(config, product, None if pooled is None else pooled[image].mean(0)))
    return np.stack(result)


def seen(config, product, pooled):
    prefix = config.num_prefix_tokens
    token, mean = product[0], product[prefix:].mean(0)
    if config.distillation_token:
        token = product[:2].mean(0)
    row = {"token": token, "mean": mean, "token_and_mean": (token + mean) / 2}.get(config.pooling)
    row = pooled @ product[-len(pooled) :] if row is None else row  # it may skip prefix tokens
    return row[prefix:].reshape(config.grid_size)
