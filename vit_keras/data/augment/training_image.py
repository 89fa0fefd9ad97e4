"""One training image: a part of a file, mirrored or not, changed by a policy. Imports neither Keras nor TensorFlow."""

import math

import numpy as np
from PIL import Image

from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.data.augment.policies import policy_of
from vit_keras.data.images.cropping import random_box
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.preprocess import Preprocessing, image_of, pixels

Key = tuple[int, int]
"""Two numbers that decide everything drawn for an image: the seed, and its place among all that training sees."""


def from_file(picture: Picture, preprocessing: Preprocessing, augmentation: Augmentation, key: Key) -> np.ndarray:
    """Returns what training sees of an image file, `(height, width, channels)`, uint8.

    Args:
        picture: The file.
        preprocessing: To what size; its crop is in place of a random one where there is none.
        augmentation: What is done to single images.
        key: Decides what is drawn.
    """
    rng = _generator(key)
    if augmentation.crop_scale is None:
        image = preprocessing.apply(picture.decode(channels=preprocessing.channels))
    else:
        box = random_box(picture.size, rng, scale=augmentation.crop_scale, ratio=augmentation.crop_ratio)
        image = _cropped(picture, box, preprocessing)
    return _changed(image, augmentation, rng)


def from_pixels(decoded: np.ndarray, augmentation: Augmentation, key: Key) -> np.ndarray:
    """Returns what training sees of a decoded image, of the same shape.

    Args:
        decoded: `(height, width, channels)`, uint8.
        augmentation: What is done to single images.
        key: Decides what is drawn.
    """
    rng, image = _generator(key), image_of(decoded)
    if augmentation.crop_scale is not None:
        box = random_box(image.size, rng, scale=augmentation.crop_scale, ratio=augmentation.crop_ratio)
        image = Preprocessing(image_size=decoded.shape[:2]).boxed(image, box)
    return _changed(image, augmentation, rng)


def _generator(key: Key) -> np.random.Generator:
    seed, position = key
    return np.random.Generator(np.random.Philox(key=seed << 64 | position))


def _changed(image: Image.Image, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    if augmentation.flip_rate and rng.random() < augmentation.flip_rate:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return pixels(policy_of(augmentation.policy).apply(image, rng) if augmentation.policy else image)


def _cropped(picture: Picture, box: tuple[int, int, int, int], preprocessing: Preprocessing) -> Image.Image:
    """Decodes no larger than the crop needs, then cuts and resizes at once."""
    width, height = picture.size
    rows, columns = preprocessing.image_size
    left, top, right, bottom = box
    enough = math.ceil(width * columns / (right - left)), math.ceil(height * rows / (bottom - top))
    image = picture.decode(channels=preprocessing.channels, at_least=enough)
    scale_x, scale_y = image.size[0] / width, image.size[1] / height
    return preprocessing.boxed(image, (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y))
