"""Every layer and the whole Vision Transformer in plain numpy and float64, with weights taken from Keras.

Written to be checked by eye against the papers, not to be fast. `weights` is always a dictionary by path, as `weights_of` and
`part` return it.
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


def randomize(layer, seed=0):
    """Moves every weight of a built layer or model away from its zero, one or 1e-5, so that leaving one out shows."""
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(keras.ops.convert_to_numpy(weight) + random.normal(scale=0.1, size=weight.shape))
    return layer


def build(layer, shape, seed=0):
    """The layer, built for inputs of this shape, with random weights."""
    layer.build(shape)
    return randomize(layer, seed)


def tokens(*shape):
    """Random float32 inputs, (2, 5, 8) by default."""
    return np.random.default_rng(0).normal(size=shape or (2, 5, 8)).astype("float32")


def call(layer, inputs, **options):
    return keras.ops.convert_to_numpy(layer(inputs, **options))


def assert_close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def dense(x, weights):
    return x @ weights["kernel"] + weights.get("bias", 0)


def layer_norm(x, weights, epsilon=1e-6):
    if "beta" not in weights:  # RMS norm
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weights["gamma"]
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * weights["gamma"] + weights["beta"]


def gelu(x):
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def quick_gelu(x):
    return x / (1 + np.exp(-1.702 * x))


def silu(x):
    return x / (1 + np.exp(-x))


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "quick_gelu": quick_gelu, "silu": silu}


def softmax(x):
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def pixel_normalization(images, mean, std):
    return (images / 255 - np.array(mean)) / np.array(std)


def patches(images, size):
    batch, height, width, _ = images.shape
    corners = [
        (y, x) for y in range(0, height - size + 1, size) for x in range(0, width - size + 1, size)
    ]  # whole patches
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


def sincos2d(rows, columns, dim, kind="sincos2d"):
    has_end = kind == "sincos2d"
    frequencies = 10_000.0 ** -np.linspace(0, 1, dim // 4, endpoint=has_end) if dim > 4 else np.ones(1)
    return np.array(
        [
            np.concatenate([np.sin(x * frequencies), np.cos(x * frequencies), np.sin(y * frequencies), np.cos(y * frequencies)])
            for y in range(rows)
            for x in range(columns)
        ]
    )  # fmt: skip


def patch_encoder(patches, weights, *, position_embedding="learned", grid_size=None, norm_epsilon=1e-6):
    tokens = dense(patches, part(weights, "projection"))
    if "norm/gamma" in weights:
        tokens = layer_norm(tokens, part(weights, "norm"), norm_epsilon)
    if position_embedding.startswith("sincos2d"):
        tokens = tokens + sincos2d(*grid_size, tokens.shape[-1], position_embedding)
    names = [name for name in ("class_token", "distillation_token", "registers") if name in weights]
    prefix = [np.repeat(weights[name], len(tokens), axis=0) for name in names]
    tokens = np.concatenate([*prefix, tokens], axis=1)
    if position_embedding == "learned":
        positions = weights["position_embedding"]
        tokens[:, tokens.shape[1] - positions.shape[1] :] += positions
    return tokens


def rotate(heads, weights, *, kind, grid_size, temperature, order, reference=None, offset=0.0):
    """Turns each pair of numbers, patch by patch; `heads` is (batch, tokens, num_heads, head_dim)."""
    rows, columns = grid_size
    head_dim = heads.shape[-1]
    bands = temperature ** -np.linspace(0, 1, head_dim // 4, endpoint=False)
    turned = heads.copy()
    for patch in range(rows * columns):
        y, x = (place + offset for place in divmod(patch, columns))
        if kind == "centered":
            y, x = (2 * (y + 0.5) / rows - 1) * 2 * math.pi, (2 * (x + 0.5) / columns - 1) * 2 * math.pi
        elif reference is not None:
            y, x = y * reference[0] / rows, x * reference[1] / columns
        first, second = (y, x) if order == "yx" else (x, y)
        angles = np.concatenate([first * bands, second * bands])  # (head_dim / 2), the same in each head
        if kind == "mixed":
            angles = first * weights["frequencies"][0] + second * weights["frequencies"][1]
        token = heads.shape[1] - rows * columns + patch
        here = heads[:, token]
        a, b = (
            (here[..., : head_dim // 2], here[..., head_dim // 2 :])
            if kind == "centered"
            else (here[..., ::2], here[..., 1::2])
        )
        new_a, new_b = a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)
        if kind == "centered":
            turned[:, token] = np.concatenate([new_a, new_b], axis=-1)
        else:
            turned[:, token, :, ::2], turned[:, token, :, 1::2] = new_a, new_b
    return turned


def relative_position_bias(weights, *, num_heads, grid_size, num_prefix_tokens):
    """The bias of each head and pair of tokens, pair by pair."""
    rows, columns = grid_size
    tokens = rows * columns + num_prefix_tokens
    bias = np.zeros((num_heads, tokens, tokens))
    for query in range(rows * columns):
        for key in range(rows * columns):
            y, x = query // columns - key // columns, query % columns - key % columns
            if "table" in weights:
                number = weights["table"][(y + rows - 1) * (2 * columns - 1) + x + columns - 1]
            else:
                logs = np.array([math.copysign(math.log(1 + abs(offset)), offset) for offset in (y, x)])
                inside = np.maximum(logs @ weights["expand_kernel"] + weights["expand_bias"], 0)
                number = inside @ weights["contract_kernel"] + weights["contract_bias"]
            bias[:, num_prefix_tokens + query, num_prefix_tokens + key] = number
    if "table" in weights and num_prefix_tokens:  # the last rows: from the class token, to it, itself
        bias[:, 0, 1:], bias[:, 1:, 0] = (number[:, None] for number in weights["table"][-3:-1])
        bias[:, 0, 0] = weights["table"][-1]
    return bias


def attend(queries, keys, values, num_heads, bias=None):
    """Every head alone on its share of the channels."""
    heads = zip(*(np.split(x, num_heads, axis=-1) for x in (queries, keys, values)), strict=True)
    biases = np.zeros((num_heads, 1, 1)) if bias is None else bias
    return np.concatenate(
        [
            softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + number) @ v
            for (q, k, v), number in zip(heads, biases, strict=True)
        ],
        axis=-1,
    )


def attend_differentially(queries, keys, values, weights, num_heads, lambda_init):
    """Ye et al. 2024, equations 1 to 3: two maps per head, then a norm per head."""
    vectors = [[weights[f"lambda_{name}_{index}"] for name in ("query", "key")] for index in (1, 2)]
    first, second = (math.exp(query @ key) for query, key in vectors)
    factor = first - second + lambda_init
    outputs = []
    for q, k, v in zip(*(np.split(x, num_heads, axis=-1) for x in (queries, keys, values)), strict=True):
        (q1, q2), (k1, k2) = (np.split(x, 2, axis=-1) for x in (q, k))
        one, two = (softmax(x @ y.swapaxes(-1, -2) / math.sqrt(x.shape[-1])) for x, y in ((q1, k1), (q2, k2)))
        head = layer_norm((one - factor * two) @ v, part(weights, "head_norm"), 1e-5)
        outputs.append(head * (1 - lambda_init))
    return np.concatenate(outputs, axis=-1)


def self_attention(
    tokens, weights, num_heads, *, norm_epsilon=1e-6, rotary=None, relative_position=None, bias=None, lambda_init=None
):
    queries, keys, values = np.split(dense(tokens, part(weights, "qkv")), 3, axis=-1)
    queries, values = queries + weights.get("query_bias", 0), values + weights.get("value_bias", 0)

    def placed(x, norm):
        heads = x.reshape(*x.shape[:2], num_heads, -1)
        if f"{norm}/gamma" in weights:
            heads = layer_norm(heads, part(weights, norm), norm_epsilon)
        if rotary is not None:
            heads = rotate(heads, part(weights, "rotary"), **rotary)
        return heads.reshape(x.shape)

    queries, keys = placed(queries, "query_norm"), placed(keys, "key_norm")
    if relative_position is not None and bias is None:
        bias = relative_position_bias(part(weights, "relative_position"), num_heads=num_heads, **relative_position)
    if lambda_init is None:
        attended = attend(queries, keys, values, num_heads, bias)
    else:
        attended = attend_differentially(queries, keys, values, weights, num_heads, lambda_init)
    if "inner_norm/gamma" in weights:
        attended = layer_norm(attended, part(weights, "inner_norm"), norm_epsilon)
    return dense(attended, part(weights, "output"))


def mlp(tokens, weights, activation="gelu", *, gated=False, norm_epsilon=1e-6):
    inside = dense(tokens, part(weights, "expand"))
    if gated:
        gates, inside = np.split(inside, 2, axis=-1)
        inside = ACTIVATIONS[activation](gates) * inside
    else:
        inside = ACTIVATIONS[activation](inside)
    if "inner_norm/gamma" in weights:
        inside = layer_norm(inside, part(weights, "inner_norm"), norm_epsilon)
    return dense(inside, part(weights, "contract"))


def transformer_block(
    tokens,
    weights,
    *,
    num_heads,
    activation="gelu",
    norm_epsilon=1e-6,
    gated_mlp=False,
    parallel=False,
    block_norm="before",
    **attention,
):
    def attention_branch(normed):
        return self_attention(normed, part(weights, "attention"), num_heads, norm_epsilon=norm_epsilon, **attention)

    def mlp_branch(normed):
        return mlp(normed, part(weights, "mlp"), activation, gated=gated_mlp, norm_epsilon=norm_epsilon)

    if parallel:
        normed = layer_norm(tokens, part(weights, "norm"), norm_epsilon)
        return tokens + (attention_branch(normed) + mlp_branch(normed)) * weights.get("scale/gamma", 1)
    for name, branch in (("attention", attention_branch), ("mlp", mlp_branch)):
        norm = part(weights, f"{name}_norm")
        if block_norm == "after":
            tokens = tokens + layer_norm(branch(tokens), norm, norm_epsilon)
        else:
            scale = weights.get(f"{name}_scale/gamma", 1)
            tokens = tokens + branch(layer_norm(tokens, norm, norm_epsilon)) * scale
    return tokens  # fmt: skip


def token_pooling(tokens, pooling, *, num_prefix_tokens=1):
    token, mean = tokens[:, 0], tokens[:, num_prefix_tokens:].mean(axis=1)
    both = np.concatenate([token, mean], axis=-1)
    return {"token": token, "mean": mean, "token_and_mean": both, "distillation": tokens[:, 1]}[pooling]


def attention_pooling(tokens, weights, *, num_heads, activation="gelu", norm_epsilon=1e-6):
    queries = np.repeat(dense(weights["probe"], part(weights, "query")), len(tokens), axis=0)
    keys, values = np.split(dense(tokens, part(weights, "key_value")), 2, axis=-1)
    found = dense(attend(queries, keys, values, num_heads), part(weights, "output"))
    normed = layer_norm(found, part(weights, "mlp_norm"), norm_epsilon)
    return (found + mlp(normed, part(weights, "mlp"), activation))[:, 0]


def vit(config, weights, images):
    """Logits where the weights have a head, else features."""
    shared = {"activation": config.activation, "norm_epsilon": config.norm_epsilon, "num_heads": config.num_heads}
    rotary = {
        "kind": config.rotary_embedding, "grid_size": config.grid_size, "temperature": config.rotary_temperature,
        "order": config.rotary_order, "reference": config.rotary_reference, "offset": config.rotary_offset,
    }  # fmt: skip
    if config.rotary_embedding == "none":
        rotary = None
    x = pixel_normalization(images.astype("float64"), config.pixel_mean, config.pixel_std)
    if config.stem == "conv":
        x = conv_stem(x, config.patch_size, part(weights, "conv_stem"))
    else:
        x = patches(x, config.patch_size)
    positions = {
        "position_embedding": config.position_embedding, "grid_size": config.grid_size, "norm_epsilon": config.norm_epsilon,
    }  # fmt: skip
    x = patch_encoder(x, part(weights, "patch_encoder"), **positions)
    if config.stem_norm:
        x = layer_norm(x, part(weights, "stem_norm"), config.norm_epsilon)
    relative_position, bias = {"grid_size": config.grid_size, "num_prefix_tokens": config.num_prefix_tokens}, None
    if config.relative_position_shared:
        of_all = part(weights, "relative_position")
        bias = relative_position_bias(of_all, num_heads=config.num_heads, **relative_position)
    for index in range(config.num_layers):
        kind = {
            "gated_mlp": config.gated_mlp, "parallel": config.parallel_block, "rotary": rotary, "block_norm": config.block_norm,
            "relative_position": relative_position if config.relative_position != "none" else None, "bias": bias,
            "lambda_init": 0.8 - 0.6 * math.exp(-0.3 * index) if config.differential_attention else None,
        }  # fmt: skip
        x = transformer_block(x, part(weights, f"block_{index:02d}"), **shared, **kind)
    if config.final_norm == "before":
        x = layer_norm(x, part(weights, "final_norm"), config.norm_epsilon)
    tokens = x
    if config.pooling == "map":
        seen = x if config.map_includes_prefix else x[:, config.num_prefix_tokens :]
        pooling = {**shared, "num_heads": config.num_map_heads or config.num_heads}
        x = attention_pooling(seen, part(weights, "pooling"), **pooling)
    else:
        x = token_pooling(x, config.pooling, num_prefix_tokens=config.num_prefix_tokens)
    if config.final_norm == "after":
        x = layer_norm(x, part(weights, "final_norm"), config.norm_epsilon)
    if config.pre_logits_dim is not None:
        x = np.tanh(dense(x, part(weights, "pre_logits")))
    outputs = [dense(x, part(weights, "head")) if "head/kernel" in weights else x]
    if config.has_two_heads:
        second = tokens[:, 1]
        outputs.append(dense(second, part(weights, "head_distillation")) if "head/kernel" in weights else second)
    return sum(outputs) / len(outputs)
