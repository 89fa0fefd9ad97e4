"""Makes one training image: random crop, flip and policy. Imports neither Keras nor TensorFlow."""

import math

import numpy as np
from PIL import Image

from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.data.augment.policies import parse_policy
from vit_keras.data.images.cropping import random_box
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.preprocess import Preprocessing, to_image, to_pixels

Key = tuple[int, int]
"""Seed and position in the sequence of all training images; together they determine all random draws of an image."""


def from_file(picture: Picture, preprocessing: Preprocessing, augmentation: Augmentation, key: Key) -> np.ndarray:
    """Returns an image file, augmented per image: `(height, width, channels)`, uint8."""
    rng = _generator(key)
    if augmentation.crop_scale is None:
        image = preprocessing.apply(picture.decode_for(preprocessing))
    else:
        box = random_box(picture.size, rng, scale=augmentation.crop_scale, ratio=augmentation.crop_ratio)
        image = _decode_box(picture, box, preprocessing)
    return preprocessing.pack(_flip_and_change(image, augmentation, rng))


def from_pixels(decoded: np.ndarray, augmentation: Augmentation, key: Key) -> np.ndarray:
    """Returns a decoded image `(height, width, channels)`, uint8, augmented per image, of the same shape."""
    rng, image = _generator(key), to_image(decoded)
    if augmentation.crop_scale is not None:
        box = random_box(image.size, rng, scale=augmentation.crop_scale, ratio=augmentation.crop_ratio)
        image = Preprocessing(image_size=decoded.shape[:2]).resize_box(image, box)
    return _flip_and_change(image, augmentation, rng)


def _generator(key: Key) -> np.random.Generator:
    seed, position = key
    return np.random.Generator(np.random.Philox(key=seed << 64 | position))


def _flip_and_change(image: Image.Image, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    if augmentation.flip_rate and rng.random() < augmentation.flip_rate:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return to_pixels(parse_policy(augmentation.policy).apply(image, rng) if augmentation.policy else image)


def _decode_box(picture: Picture, box: tuple[int, int, int, int], preprocessing: Preprocessing) -> Image.Image:
    """Decodes at no higher resolution than the box needs, then crops and resizes in one step."""
    width, height = picture.size
    left, top, right, bottom = box
    rows, columns = preprocessing.target_size(right - left, bottom - top)
    enough = math.ceil(width * columns / (right - left)), math.ceil(height * rows / (bottom - top))
    image = picture.decode_for(preprocessing, at_least=enough)
    scale_x, scale_y = image.size[0] / width, image.size[1] / height
    return preprocessing.resize_box(image, (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y))
