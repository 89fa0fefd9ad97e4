"""Decodes and preprocesses JPEG and PNG files with TensorFlow operations, as `Picture.preprocess` does with Pillow."""

import math

import tensorflow as tf

from vit_keras.data.images.decode import LARGEST_PIXELS
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.exporting.conversion.orientation_graph import (
    FileBytes,
    Tensor,
    jpeg_orientation,
    make_upright,
    png_orientation,
    to_int,
)
from vit_keras.exporting.conversion.resample_graph import resample

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_GRAY = 128  # of borders
_UNKNOWN = "not a JPEG or PNG file: convert others, such as WebP"
_TOO_LARGE = f"more than {LARGEST_PIXELS / 1e6:.0f} million pixels"
_DAMAGED = "the file is damaged"
_SIXTEEN_BITS = (0.0, 65535.0)


def try_preprocess_file(content: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Returns the pixels of an encoded image, `(height, width, channels)`, uint8, and what is wrong with it.

    One that can't be read is black, and its problem a sentence; else that is an empty string. TensorFlow has no operation that catches
    errors, but a data set of one element can leave out an element that fails.

    Args:
        content: The bytes of a file: a scalar string.
        preprocessing: How it is resized.
    """
    black = tf.zeros((*preprocessing.image_size, preprocessing.channels), tf.uint8)

    def read(content: Tensor) -> tuple[Tensor, Tensor]:
        problem = _find_problem(content)
        return tf.cond(problem == b"", lambda: preprocess_file(content, preprocessing), lambda: black), problem

    files = tf.data.Dataset.from_tensors(content).map(read).ignore_errors()
    settings = tf.data.Options()
    settings.autotune.enabled = settings.experimental_optimization.apply_default_optimizations = False
    pixels, problem = files.with_options(settings).reduce((black, tf.constant(_DAMAGED)), lambda _, found: found)
    return pixels, problem


def _find_problem(content: Tensor) -> Tensor:
    """Returns why a file is not decoded, or an empty string; fails for some damaged files."""
    file = FileBytes(content)
    is_jpeg, is_png = _starts_as(file, _JPEG), _starts_as(file, _PNG)
    sides = tf.cond(
        is_jpeg,
        lambda: tf.cast(tf.image.extract_jpeg_shape(content)[:2], tf.int64),
        lambda: tf.stack([file.number(to_int(20), 4), file.number(to_int(16), 4)]),
    )
    too_large = tf.where(tf.reduce_prod(sides) > LARGEST_PIXELS, _TOO_LARGE, "")
    return tf.where(is_jpeg | is_png, too_large, _UNKNOWN)


def _starts_as(file: FileBytes, start: bytes) -> Tensor:
    return file.holds(to_int(0), tuple(start))


def preprocess_file(content: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Returns the pixels of a JPEG or PNG file, `(height, width, channels)`, uint8: upright, on white, resized and cropped."""
    pixels = decode_file(content, pixel_range=preprocessing.pixel_range)
    if preprocessing.channels == 1:
        pixels = _to_gray(pixels)
    pixels = resize(pixels, preprocessing)
    pixels.set_shape((*preprocessing.image_size, preprocessing.channels))
    return pixels


def decode_file(content: Tensor, *, pixel_range: tuple[float, float] | None = None) -> Tensor:
    """Returns a JPEG or PNG file as `(height, width, 3)`, uint8, upright and on white; fails if it is damaged.

    `pixel_range`: black and white of gray images of 16 bits; None for 0 and 65535.
    """
    file = FileBytes(content)
    return tf.cond(
        _starts_as(file, _JPEG), lambda: _decode_jpeg(content, file), lambda: _decode_png(content, file, pixel_range)
    )


def _decode_jpeg(content: Tensor, file: FileBytes) -> Tensor:
    # Pillow's transform; TensorFlow's default is a faster one, up to 4 levels off.
    pixels = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    return make_upright(pixels, jpeg_orientation(file))


def _decode_png(content: Tensor, file: FileBytes, pixel_range: tuple[float, float] | None) -> Tensor:
    low, high = pixel_range or _SIXTEEN_BITS
    depth, color = (file.number(to_int(position), 1) for position in (24, 25))

    def sixteen_bits() -> Tensor:
        gray = tf.io.decode_png(content, channels=1, dtype=tf.uint16)
        scaled = tf.round((tf.cast(gray, tf.float64) - low) * (255 / (high - low)))
        return tf.repeat(tf.cast(tf.clip_by_value(scaled, 0, 255), tf.uint8), 3, axis=-1)

    def eight_bits() -> Tensor:
        pixels = tf.io.decode_png(content, channels=4)
        # Of 1, 2 and 4 bits without transparency TensorFlow gives the largest number of these as alpha, where 255 is opaque.
        opaque = tf.cast(tf.bitwise.left_shift(to_int(1), tf.minimum(depth, to_int(8))) - 1, tf.uint8)
        is_opaque = tf.reduce_all(pixels[..., 3] == opaque)
        return tf.cond(is_opaque, lambda: pixels[..., :3], lambda: _put_on_white(pixels))

    pixels = tf.cond((depth == 16) & (color == 0), sixteen_bits, eight_bits)
    return make_upright(pixels, png_orientation(file))


def _put_on_white(pixels: Tensor) -> Tensor:
    """Returns `(height, width, 4)` on white, in the integer arithmetic of Pillow's `alpha_composite`."""
    colors, alpha = tf.cast(pixels[..., :3], tf.int32), tf.cast(pixels[..., 3:], tf.int32)
    total = (colors * alpha + 255 * (255 - alpha)) * 128 + 128 * 128
    return tf.cast(((total // 256 + total) // 256) // 128, tf.uint8)


def _to_gray(pixels: Tensor) -> Tensor:
    """Returns `(height, width, 1)` in the integer arithmetic of Pillow's mode "L"."""
    weights = tf.constant([19595, 38470, 7471], tf.int32)
    total = tf.reduce_sum(tf.cast(pixels, tf.int32) * weights, axis=-1, keepdims=True)
    return tf.cast((total + 0x8000) // 0x10000, tf.uint8)


def resize(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Returns an image `(height, width, channels)`, uint8, resized and cropped as `Preprocessing.apply` does."""
    sides = tf.cast(tf.shape(pixels)[:2], tf.float64)
    wanted, interpolation = tf.constant(preprocessing.image_size, tf.float64), preprocessing.interpolation
    resized = _resized_size(sides, preprocessing)
    margin = _margin(resized, wanted)
    if preprocessing.crop_mode == "border":
        whole = resample(
            pixels, tf.zeros(2, tf.float64), sides, size=tf.cast(resized, tf.int32), interpolation=interpolation
        )
        return _crop_or_frame(whole, tf.cast(margin, tf.int32), preprocessing.image_size)
    scale = sides / resized
    start, end = tf.maximum(margin * scale, 0), tf.minimum((margin + wanted) * scale, sides)
    return resample(pixels, start, end, size=tf.constant(preprocessing.image_size), interpolation=interpolation)


def _resized_size(sides: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Returns `Preprocessing.resized_size`, as float64 `(height, width)`; `sides` are those of the image."""
    before_crop = [math.floor(side / preprocessing.crop) for side in preprocessing.image_size]
    target = tf.constant(before_crop, tf.float64)
    if preprocessing.crop_mode == "squash":
        return target
    if preprocessing.crop_mode == "center" and before_crop[0] == before_crop[1]:
        short = tf.reduce_min(sides)
        return tf.where(sides == short, target, tf.floor(target * sides / short))
    ratios = sides / target
    ratio = tf.reduce_max(ratios) if preprocessing.crop_mode == "border" else tf.reduce_min(ratios)
    return tf.round(sides / ratio)


def _margin(resized: Tensor, wanted: Tensor) -> Tensor:
    """Returns what is cut off before the center, negative to add: as in `preprocess`, half to even, then rounded down."""
    return tf.where(resized >= wanted, tf.round((resized - wanted) / 2), -tf.floor((wanted - resized) / 2))


def _crop_or_frame(pixels: Tensor, margin: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the middle of an image; gray where it is smaller than `size`."""
    wanted = tf.constant(size)
    sides = tf.shape(pixels)[:2]
    before = tf.maximum(-margin, 0)
    after = tf.maximum(wanted - sides - before, 0)
    framed = tf.pad(pixels, tf.concat([tf.stack([before, after], axis=1), [[0, 0]]], axis=0), constant_values=_GRAY)
    top, left = tf.unstack(tf.maximum(margin, 0))
    return framed[top : top + size[0], left : left + size[1]]
