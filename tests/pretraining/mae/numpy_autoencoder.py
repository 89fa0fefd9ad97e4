"""A masked autoencoder in plain numpy and float64: He et al. 2022, arXiv 2111.06377, written to be checked by eye."""

import numpy as np
import oracle
from oracle import part


def masked_autoencoder(model, images, noise):
    """Loss per image, predictions and mask of a `MaskedAutoencoder` whose encoder has no rotary or relative positions."""
    config, weights, decoder = model.config, oracle.weights_of(model.encoder), oracle.weights_of(model.decoder)
    prefix, kept = config.num_prefix_tokens, model.num_visible
    pixels = oracle.pixel_normalization(images.astype("float64"), config.pixel_mean, config.pixel_std)
    patches = oracle.patches(pixels, config.patch_size)
    order = np.argsort(noise, axis=1)
    mask = np.ones(noise.shape)
    for row, kept_here in zip(mask, order[:, :kept], strict=True):
        row[kept_here] = 0
    if config.stem == "conv":
        cells = oracle.conv_stem(hide(pixels, mask, config.patch_size), config.patch_size, part(weights, "conv_stem"))
    else:
        cells = patches
    whole = oracle.patch_encoder(
        cells, part(weights, "patch_encoder"), position_embedding=config.position_embedding, grid_size=config.grid_size
    )
    tokens = np.stack(
        [
            np.concatenate([row[:prefix], row[prefix + places]])
            for row, places in zip(whole, order[:, :kept], strict=True)
        ]
    )
    options = {"activation": config.activation, "norm_epsilon": config.norm_epsilon}
    for index in range(config.num_layers):
        tokens = oracle.transformer_block(
            tokens, part(weights, f"block_{index:02d}"), num_heads=config.num_heads, gated_mlp=config.gated_mlp,
            parallel=config.parallel_block, **options,
        )  # fmt: skip
    tokens = oracle.layer_norm(tokens, part(weights, "final_norm"), config.norm_epsilon)
    predictions = decode(oracle.dense(tokens, part(decoder, "embed")), decoder, order, model.decoder, options)
    targets = patches
    if model.norm_targets:
        targets = patches - patches.mean(-1, keepdims=True)
        targets = targets / np.sqrt(patches.var(-1, ddof=1, keepdims=True) + 1e-6)
    errors = ((predictions - targets) ** 2).mean(-1)
    return (errors * mask).sum(1) / mask.sum(1), predictions, mask


def hide(pixels, mask, size):
    """Images whose masked patches are zero."""
    hidden, columns = pixels.copy(), pixels.shape[2] // size
    for image, places in zip(hidden, mask, strict=True):
        for patch in np.flatnonzero(places):
            y, x = (size * place for place in divmod(patch, columns))
            image[y : y + size, x : x + size] = 0
    return hidden


def decode(tokens, weights, order, decoder, options):
    prefix, kept = decoder.num_prefix_tokens, tokens.shape[1] - decoder.num_prefix_tokens
    sequence = np.repeat(weights["mask_token"], len(tokens), axis=0)
    sequence = np.repeat(sequence, prefix + decoder.num_patches, axis=1)
    for image, found, places in zip(sequence, tokens, order[:, :kept], strict=True):
        image[:prefix] = found[:prefix]
        image[prefix + places] = found[prefix:]
    sequence = sequence + weights["position_embedding"]
    for index in range(decoder.num_layers):
        block = part(weights, f"block_{index:02d}")
        sequence = oracle.transformer_block(sequence, block, num_heads=decoder.num_heads, **options)
    sequence = oracle.layer_norm(sequence[:, prefix:], part(weights, "norm"), options["norm_epsilon"])
    return oracle.dense(sequence, part(weights, "predict"))


def decoder_positions(rows, columns, dim, prefix):
    """The authors' positions: sine and cosine of the column, then of the row; zeros for prefix tokens."""
    table = np.zeros((prefix + rows * columns, dim))
    for place in range(rows * columns):
        for step in range(dim // 4):
            omega = 10_000 ** (-step / (dim / 4))
            row, column = divmod(place, columns)
            for part_index, value in enumerate(
                (np.sin(column * omega), np.cos(column * omega), np.sin(row * omega), np.cos(row * omega))
            ):
                table[prefix + place, part_index * dim // 4 + step] = value
    return table
