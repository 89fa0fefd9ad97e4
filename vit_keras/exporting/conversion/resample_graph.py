"""Resizes a box of an image with TensorFlow operations, to exactly the pixels that Pillow's `Image.resize` gives."""

import math

import PIL
import tensorflow as tf

from vit_keras.exporting.conversion.orientation_graph import Tensor

_BITS = 22  # of the fraction of Pillow's coefficients, integers of 32 bits
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
_ROWS_MAY_BE_FIRST = int(PIL.__version__.split(".")[0]) >= 13  # older versions filter columns first in every image
_CHUNK = 2**22  # numbers that are filtered at a time: 16 MiB


def resample(pixels: Tensor, start: Tensor, end: Tensor, *, size: Tensor, interpolation: str) -> Tensor:
    """Returns a box of an image in a new size, with antialiasing, as the Pillow on this machine does.

    Pillow takes the box in float32, computes coefficients in float64, rounds them to integers, filters one axis after the other, and
    rounds to 8 bits after each.

    Args:
        pixels: `(height, width, channels)`, uint8.
        start: Top and left of the box, px, float64.
        end: Bottom and right.
        size: New height and width, int32.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".

    Shapes:
        returns: `(*size, channels)`, uint8.
    """
    start, end = tf.cast(start, tf.float32), tf.cast(end, tf.float32)
    first = tf.cast(start, tf.float64)
    step = tf.cast(end - start, tf.float64) / tf.cast(size, tf.float64)
    if interpolation == "nearest":
        for axis in (0, 1):
            steps = tf.fill([size[axis] - 1], step[axis])
            # Added one after the other, as Pillow does: `tf.cumsum` rounds otherwise, which shows where a place is an integer.
            places = tf.scan(tf.add, tf.concat([[first[axis] + step[axis] * 0.5], steps], axis=0))
            places = tf.minimum(tf.cast(places, tf.int32), tf.shape(pixels)[axis] - 1)
            pixels = tf.gather(pixels, places, axis=axis)
        return pixels

    def filter_rows(image: Tensor) -> Tensor:
        return _filter_rows(image, _coefficients(tf.shape(image)[0], first[0], step[0], size[0], interpolation))

    def filter_columns(image: Tensor) -> Tensor:
        coefficients = _coefficients(tf.shape(image)[1], first[1], step[1], size[1], interpolation)
        return tf.transpose(_filter_rows(tf.transpose(image, (1, 0, 2)), coefficients), (1, 0, 2))

    if not _ROWS_MAY_BE_FIRST:
        return filter_rows(filter_columns(pixels))
    removed = tf.shape(pixels)[:2] - size
    rows_first = (removed[0] > 0) & (removed[0] > 2 * removed[1])
    return tf.cond(rows_first, lambda: filter_columns(filter_rows(pixels)), lambda: filter_rows(filter_columns(pixels)))


def _coefficients(length: Tensor, first: Tensor, step: Tensor, count: Tensor, interpolation: str) -> tf.SparseTensor:
    """Returns what each of `length` places adds to each of `count` new ones, `(count, length)`, int32 with 22 bits of fraction."""
    scale = tf.maximum(step, 1.0)
    support = _SUPPORT[interpolation] * scale
    centers = first + (tf.range(tf.cast(count, tf.float64), dtype=tf.float64) + 0.5) * step
    starts = tf.maximum(tf.cast(centers - support + 0.5, tf.int32), 0)
    ends = tf.minimum(tf.cast(centers + support + 0.5, tf.int32), length)
    places = starts[:, None] + tf.range(tf.reduce_max(ends - starts))
    weights = _weigh((tf.cast(places, tf.float64) - centers[:, None] + 0.5) * (1.0 / scale), interpolation)
    weights = tf.where(places < ends[:, None], weights, 0.0)
    weights = weights / tf.reduce_sum(weights, axis=1, keepdims=True) * 2**_BITS
    rounded = tf.cast(weights + tf.where(weights < 0, tf.constant(-0.5, tf.float64), 0.5), tf.int32)
    used = tf.where(rounded != 0)
    return tf.SparseTensor(
        tf.stack([used[:, 0], tf.cast(tf.gather_nd(places, used), tf.int64)], axis=1),
        tf.gather_nd(rounded, used),
        tf.cast(tf.stack([count, length]), tf.int64),
    )


def _weigh(distances: Tensor, interpolation: str) -> Tensor:
    """Returns a filter's values at distances from its center; the cubic one is that of Keys with a = -0.5."""
    x = tf.abs(distances)
    if interpolation == "bilinear":
        return tf.maximum(1.0 - x, 0.0)
    if interpolation == "bicubic":
        outside = tf.where(x < 2.0, (((x - 5) * x + 8) * x - 4) * -0.5, 0.0)
        return tf.where(x < 1.0, (1.5 * x - 2.5) * x * x + 1, outside)
    return tf.where((distances >= -3.0) & (distances < 3.0), _sinc(distances) * _sinc(distances / 3), 0.0)


def _sinc(x: Tensor) -> Tensor:
    angle = tf.where(x == 0.0, tf.constant(1.0, tf.float64), x * math.pi)
    return tf.where(x == 0.0, tf.constant(1.0, tf.float64), tf.sin(angle) / angle)


def _filter_rows(pixels: Tensor, coefficients: tf.SparseTensor) -> Tensor:
    """Returns `(count, width, channels)`, uint8, some columns at a time: 4 bytes a number of a large photo would be much memory."""
    height, width, channels = tf.unstack(tf.shape(pixels))
    count = tf.cast(coefficients.dense_shape[0], tf.int32)
    columns = tf.maximum(_CHUNK // (height * channels), 1)
    num_chunks = (width + columns - 1) // columns

    def add(index: Tensor, chunks: tf.TensorArray) -> tuple[Tensor, tf.TensorArray]:
        part = pixels[:, index * columns : (index + 1) * columns]
        flat = tf.cast(tf.reshape(part, (height, -1)), tf.int32)
        total = tf.sparse.sparse_dense_matmul(coefficients, flat) + 2 ** (_BITS - 1)
        values = tf.clip_by_value(tf.bitwise.right_shift(total, _BITS), 0, 255)
        values = tf.reshape(tf.cast(values, tf.uint8), (count, -1, channels))
        return index + 1, chunks.write(index, tf.transpose(values, (1, 0, 2)))

    chunks = tf.TensorArray(tf.uint8, size=num_chunks, infer_shape=False, element_shape=(None, None, pixels.shape[-1]))
    _, chunks = tf.while_loop(lambda index, _: index < num_chunks, add, (0, chunks), parallel_iterations=1)
    return tf.transpose(chunks.concat(), (1, 0, 2))
