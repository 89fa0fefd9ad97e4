"""Images of a program's own as one batch, preprocessed as a model takes them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vit_keras.data.images.decode import read_image
from vit_keras.data.images.preprocess import Preprocessing, to_image
from vit_keras.errors import DataError
from vit_keras.packing import packed_grid as packed_grid  # also public here
from vit_keras.packing import unpack_image as unpack_image


def preprocess_images(images: Sequence[Any], preprocessing: Preprocessing) -> np.ndarray:
    """Returns images of any sizes as one batch for a model: resized, and packed where the preprocessing packs.

    Args:
        images: Paths of image files, PIL images, or arrays `(height, width, channels)`, uint8, pixels 0..255.
        preprocessing: Of the model: `preset_preprocessing`, `vk.load_preprocessing` or `default_preprocessing` return it.

    Shapes:
        returns: `(images, *preprocessing.image_shape)`, uint8.

    Raises:
        DataError: An image can't be read, or is none of these.

    Example:
        >>> packing = Preprocessing(image_size=(64, 64), patch_size=16, max_num_patches=16)
        >>> batch = preprocess_images([np.zeros((40, 90, 3), "uint8"), np.zeros((70, 20, 3), "uint8")], packing)
        >>> batch.shape
        (2, 16, 258, 3)
    """
    if isinstance(images, str | os.PathLike | Image.Image) or not len(images):
        raise DataError("images: expected a list of one or more images; put a single one into a list.")
    return np.stack([_load(image, preprocessing, number) for number, image in enumerate(images)])


def _load(image: Any, preprocessing: Preprocessing, number: int) -> np.ndarray:
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image), preprocessing)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] in (1, 3):
        image = to_image(image)
    if not isinstance(image, Image.Image):
        found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(
            f"image {number}: {found} is not an image; expected a path, a PIL image, or a uint8 array (height, width, channels) with 1 or "
            "3 channels."
        )
    return preprocessing.to_array(image.convert("L" if preprocessing.channels == 1 else "RGB"))
