"""Every layer and the whole Vision Transformer in plain numpy and float64, from the Keras weights.

Written to be checked by eye against the papers, not to be fast. `weights` are always a dictionary of the weights' paths,
as `weights_of` and `part` return it.
"""

import math

import keras
import numpy as np

_erf = np.vectorize(math.erf, otypes=[float])


def weights_of(layer):
    """All weights of a layer or model by their path inside it."""
    return {
        weight.path.removeprefix(f"{layer.name}/"): keras.ops.convert_to_numpy(weight).astype("float64")
        for weight in layer.weights
    }


def part(weights, name):
    """The weights of one part, by their path inside that part."""
    return {path.removeprefix(f"{name}/"): value for path, value in weights.items() if path.startswith(f"{name}/")}


def randomise(layer, seed=0):
    """Moves every weight of a built layer or model away from its zero, one or 1e-5, so that leaving one out shows."""
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(keras.ops.convert_to_numpy(weight) + random.normal(scale=0.1, size=weight.shape))
    return layer


def dense(x, weights):
    return x @ weights["kernel"] + weights["bias"]


def layer_norm(x, weights, epsilon=1e-6):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * weights["gamma"] + weights["beta"]


def gelu(x):
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def softmax(x):
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def pixel_normalization(images, mean, std):
    return (images / 255 - np.array(mean)) / np.array(std)


def patches(images, size):
    batch, height, width, _ = images.shape
    corners = [(y, x) for y in range(0, height, size) for x in range(0, width, size)]
    return np.stack([images[:, y : y + size, x : x + size].reshape(batch, -1) for y, x in corners], axis=1)


def conv_stem(images, patch_size, weights, epsilon=1e-5):
    cells = images
    for index in range(int(math.log2(patch_size))):
        kernel = weights[f"convolution_{index}/kernel"]
        batch, height, width, _ = cells.shape
        padded = np.pad(cells, ((0, 0), (0, 1), (0, 1), (0, 0)))  # "same" for even sides: one more at the end
        halved = np.zeros((batch, height // 2, width // 2, kernel.shape[-1]))
        for y in range(height // 2):
            for x in range(width // 2):
                halved[:, y, x] = np.einsum("bijc,ijcd->bd", padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3], kernel)
        norm = part(weights, f"norm_{index}")
        normed = (halved - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + epsilon)
        cells = np.maximum(normed * norm["gamma"] + norm["beta"], 0)
    return cells.reshape(len(cells), -1, cells.shape[-1])


def sincos2d(rows, columns, dim):
    frequencies = 10_000.0 ** -np.linspace(0, 1, dim // 4) if dim > 4 else np.ones(1)
    return np.array(
        [
            np.concatenate([np.sin(x * frequencies), np.cos(x * frequencies), np.sin(y * frequencies), np.cos(y * frequencies)])
            for y in range(rows)
            for x in range(columns)
        ]
    )  # fmt: skip


def patch_encoder(patches, weights, *, position_embedding="learned", grid_size=None):
    tokens = dense(patches, part(weights, "projection"))
    prefix = "class_token" in weights
    if prefix:
        tokens = np.concatenate([np.repeat(weights["class_token"], len(tokens), axis=0), tokens], axis=1)
    if position_embedding == "learned":
        tokens = tokens + weights["position_embedding"]
    if position_embedding == "sincos2d":
        tokens[:, int(prefix) :] += sincos2d(*grid_size, tokens.shape[-1])
    return tokens


def attend(queries, keys, values, num_heads):
    """Every head alone on its share of the channels."""
    heads = zip(*(np.split(x, num_heads, axis=-1) for x in (queries, keys, values)), strict=True)
    return np.concatenate([softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])) @ v for q, k, v in heads], axis=-1)


def self_attention(tokens, weights, num_heads):
    queries, keys, values = np.split(dense(tokens, part(weights, "qkv")), 3, axis=-1)
    return dense(attend(queries, keys, values, num_heads), part(weights, "output"))


def mlp(tokens, weights, activation="gelu"):
    inside = {"gelu": gelu, "gelu_tanh": gelu_tanh}[activation](dense(tokens, part(weights, "expand")))
    return dense(inside, part(weights, "contract"))


def transformer_block(tokens, weights, *, num_heads, activation="gelu", norm_epsilon=1e-6):
    normed = layer_norm(tokens, part(weights, "attention_norm"), norm_epsilon)
    branch = self_attention(normed, part(weights, "attention"), num_heads)
    tokens = tokens + branch * weights.get("attention_scale/gamma", 1)
    normed = layer_norm(tokens, part(weights, "mlp_norm"), norm_epsilon)
    return tokens + mlp(normed, part(weights, "mlp"), activation) * weights.get("mlp_scale/gamma", 1)


def token_pooling(tokens, pooling, *, class_token=True):
    token, mean = tokens[:, 0], tokens[:, int(class_token) :].mean(axis=1)
    return {"token": token, "mean": mean, "token_and_mean": np.concatenate([token, mean], axis=-1)}[pooling]


def attention_pooling(tokens, weights, *, num_heads, activation="gelu", norm_epsilon=1e-6):
    queries = np.repeat(dense(weights["probe"], part(weights, "query")), len(tokens), axis=0)
    keys, values = np.split(dense(tokens, part(weights, "key_value")), 2, axis=-1)
    found = dense(attend(queries, keys, values, num_heads), part(weights, "output"))
    normed = layer_norm(found, part(weights, "mlp_norm"), norm_epsilon)
    return (found + mlp(normed, part(weights, "mlp"), activation))[:, 0]


def vit(config, weights, images):
    """Logits where the weights have a head, else features."""
    shared = {"activation": config.activation, "norm_epsilon": config.norm_epsilon, "num_heads": config.num_heads}
    x = pixel_normalization(images.astype("float64"), config.pixel_mean, config.pixel_std)
    if config.stem == "conv":
        x = conv_stem(x, config.patch_size, part(weights, "conv_stem"))
    else:
        x = patches(x, config.patch_size)
    x = patch_encoder(
        x,
        part(weights, "patch_encoder"),
        position_embedding=config.position_embedding,
        grid_size=config.grid_size,
    )
    for index in range(config.num_layers):
        x = transformer_block(x, part(weights, f"block_{index:02d}"), **shared)
    x = layer_norm(x, part(weights, "final_norm"), config.norm_epsilon)
    if config.pooling == "map":
        x = attention_pooling(x, part(weights, "pooling"), **shared)
    else:
        x = token_pooling(x, config.pooling, class_token=config.class_token)
    return dense(x, part(weights, "head")) if "head/kernel" in weights else x
