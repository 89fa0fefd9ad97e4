"""Pictures of what a masked autoencoder reconstructs."""

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.pretraining.mae.targets import EPSILON

GRAY = 128  # where nothing is shown


def draw_reconstructions(
    images: np.ndarray, predictions: np.ndarray, mask: np.ndarray, *, config: ViTConfig, norm_targets: bool
) -> dict[str, np.ndarray]:
    """Returns pictures by caption: the input, what the encoder sees of it, that with the masked patches predicted, and those patches as they are.

    With `norm_targets`, predictions get mean and standard deviation of the true patches, which a model does not predict. Pixels that fill no
    patch are left out.

    Shapes:
        images: `(batch, height, width, channels)`, pixels 0..255.
        predictions: `(batch, patches, patch_dim)`; `mask`: `(batch, patches)`, 1 for masked patches; as `MaskedAutoencoder.reconstruct` returns.
        returns: `(batch, rows * patch_size, columns * patch_size, channels)`, uint8, each.
    """
    patches = _cut(np.asarray(images, "float64"), config)
    scale = 255 * np.resize(np.asarray(config.pixel_std, "float64"), patches.shape[-1])
    offset = 255 * np.resize(np.asarray(config.pixel_mean, "float64"), patches.shape[-1])
    predicted = np.asarray(predictions, "float64")
    if norm_targets:
        pixels = (patches - offset) / scale
        ddof = 1 if pixels.shape[-1] > 1 else 0
        predicted = predicted * np.sqrt(pixels.var(axis=-1, ddof=ddof, keepdims=True) + EPSILON)
        predicted = predicted + pixels.mean(axis=-1, keepdims=True)
    is_masked = np.asarray(mask)[:, :, None] > 0
    shown = {
        "input": patches,
        "masked": np.where(is_masked, GRAY, patches),
        "reconstructed": np.where(is_masked, predicted * scale + offset, patches),
        "target": np.where(is_masked, patches, GRAY),
    }
    return {caption: _join(each, config) for caption, each in shown.items()}


def _cut(images: np.ndarray, config: ViTConfig) -> np.ndarray:
    (rows, columns), size = config.grid_size, config.patch_size
    cells = images[:, : rows * size, : columns * size].reshape(-1, rows, size, columns, size, config.channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(len(images), rows * columns, -1)


def _join(patches: np.ndarray, config: ViTConfig) -> np.ndarray:
    (rows, columns), size = config.grid_size, config.patch_size
    cells = patches.reshape(-1, rows, columns, size, size, config.channels).transpose(0, 1, 3, 2, 4, 5)
    pixels = cells.reshape(-1, rows * size, columns * size, config.channels)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), "uint8")
