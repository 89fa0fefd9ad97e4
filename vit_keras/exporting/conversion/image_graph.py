"""Decodes and preprocesses JPEG and PNG files with TensorFlow operations, as `Picture.preprocess` does with Pillow."""

import math
from collections.abc import Callable
from typing import Any

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


def preprocess_file(content: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Returns the pixels of an encoded image, `(height, width, channels)`, uint8, and what is wrong with it.

    They are upright, on white, resized and cropped. A file that can't be read is black, and its problem a sentence; else that is an
    empty string.

    Args:
        content: The bytes of a file: a scalar string.
        preprocessing: How it is resized.
    """
    shape = (*preprocessing.image_size, preprocessing.channels)
    pixels, problem = decode_file(content, pixel_range=preprocessing.pixel_range)

    def fit() -> Tensor:
        return resize(_to_gray(pixels) if preprocessing.channels == 1 else pixels, preprocessing)

    fitted = tf.cond(problem == b"", fit, lambda: tf.zeros(shape, tf.uint8))
    fitted.set_shape(shape)
    return fitted, problem


def decode_file(content: Tensor, *, pixel_range: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
    """Returns a JPEG or PNG file as `(height, width, 3)`, uint8, upright and on white, and what is wrong with it, as `preprocess_file`.

    `pixel_range`: black and white of gray images of 16 bits; None for 0 and 65535.
    """
    file = FileBytes(content)
    is_jpeg, is_png = (file.holds(to_int(0), tuple(start)) for start in (_JPEG, _PNG))
    return tf.case(
        [(is_jpeg, lambda: _decode_jpeg(content, file)), (is_png, lambda: _decode_png(content, file, pixel_range))],
        default=lambda: (_no_pixels(), tf.constant(_UNKNOWN)),
    )


def _no_pixels(channels: int = 3, dtype: Any = tf.uint8) -> Tensor:
    return tf.zeros((0, 0, channels), dtype)


def _try(decode: Callable[[Tensor], Tensor], content: Tensor, nothing: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what a function that may fail makes of a file, or else `nothing`; and what is wrong.

    TensorFlow has no operation that catches errors, but a data set of one element can leave out an element that fails.
    """
    files = tf.data.Dataset.from_tensors(content).map(lambda content: (decode(content), b"")).ignore_errors()
    settings = tf.data.Options()  # without what makes it cost ten times as much
    settings.autotune.enabled = settings.experimental_optimization.apply_default_optimizations = False
    found: tuple[Tensor, Tensor] = files.with_options(settings).reduce(
        (nothing, tf.constant(_DAMAGED)), lambda _, found: found
    )
    return found


def _decode_jpeg(content: Tensor, file: FileBytes) -> tuple[Tensor, Tensor]:
    def decode(content: Tensor) -> Tensor:
        # Pillow's transform; TensorFlow's default is a faster one, up to 4 levels off.
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")

    shape, problem = _try(tf.image.extract_jpeg_shape, content, tf.zeros(3, tf.int32))
    pixels, problem = tf.cond(
        problem == b"",
        lambda: _decode_small(shape[0], shape[1], lambda: _try(decode, content, _no_pixels())),
        lambda: (_no_pixels(), problem),
    )
    return make_upright(pixels, jpeg_orientation(file)), problem


def _decode_small(height: Tensor, width: Tensor, decode: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Returns an image and its problem, and does not decode one with too many pixels."""
    is_small = tf.cast(height, tf.int64) * tf.cast(width, tf.int64) <= LARGEST_PIXELS
    found: tuple[Tensor, Tensor] = tf.cond(is_small, decode, lambda: (_no_pixels(), tf.constant(_TOO_LARGE)))
    return found


def _decode_png(content: Tensor, file: FileBytes, pixel_range: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
    low, high = pixel_range or _SIXTEEN_BITS
    width, height, depth, color = (
        file.number(to_int(position), count) for position, count in ((16, 4), (20, 4), (24, 1), (25, 1))
    )

    def sixteen_bits() -> tuple[Tensor, Tensor]:
        gray, problem = _try(
            lambda content: tf.io.decode_png(content, channels=1, dtype=tf.uint16), content, _no_pixels(1, tf.uint16)
        )
        scaled = tf.round((tf.cast(gray, tf.float64) - low) * (255 / (high - low)))
        return tf.repeat(tf.cast(tf.clip_by_value(scaled, 0, 255), tf.uint8), 3, axis=-1), problem

    def eight_bits() -> tuple[Tensor, Tensor]:
        pixels, problem = _try(lambda content: tf.io.decode_png(content, channels=4), content, _no_pixels(4))
        # Of 1, 2 and 4 bits without transparency TensorFlow gives the largest number of these as alpha, where 255 is opaque.
        opaque = tf.cast(tf.bitwise.left_shift(to_int(1), tf.minimum(depth, to_int(8))) - 1, tf.uint8)
        is_opaque = tf.reduce_all(pixels[..., 3] == opaque)
        return tf.cond(is_opaque, lambda: pixels[..., :3], lambda: _put_on_white(pixels)), problem

    pixels, problem = _decode_small(
        height, width, lambda: tf.cond((depth == 16) & (color == 0), sixteen_bits, eight_bits)
    )
    return make_upright(pixels, png_orientation(file)), problem


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
