"""Finds the Exif orientation of a JPEG or PNG file with TensorFlow operations, which `tf.io.decode_image` ignores."""

from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = Any  # tf.Tensor: TensorFlow has no types
_EXIF = tuple(b"Exif\0\0")
_ORIENTATION = 0x0112  # tag
_SHORT, _LONG = 3, 4  # types of its value
_MOST_ENTRIES = 1000  # of a directory of tags


def to_int(value: int) -> Tensor:
    """Returns a number as a tensor of int64, as all positions in a file are."""
    return tf.constant(value, tf.int64)


class FileBytes:
    """The bytes of a file; those behind its end are 0. Positions and values are int64."""

    def __init__(self, content: Tensor) -> None:
        self._bytes = tf.io.decode_raw(
            content + b"\0", tf.uint8
        )  # one more byte: those of an empty file have a place, too
        self.size = tf.size(self._bytes, out_type=tf.int64) - 1

    def uint8(self, position: Tensor) -> Tensor:
        """Returns the byte at each position."""
        is_inside = (position >= 0) & (position < self.size)
        values = tf.gather(self._bytes, tf.where(is_inside, position, to_int(0)))
        return tf.where(is_inside, tf.cast(values, tf.int64), to_int(0))

    def number(self, position: Tensor, count: int, little: Tensor | bool = False) -> Tensor:
        """Returns the number in `count` bytes at each position, big endian unless `little`."""
        parts = [self.uint8(position + index) for index in range(count)]
        big_endian = sum(part * 256**power for power, part in enumerate(reversed(parts)))
        little_endian = sum(part * 256**power for power, part in enumerate(parts))
        return tf.where(little, little_endian, big_endian)

    def holds(self, position: Tensor, values: tuple[int, ...]) -> Tensor:
        """Returns whether these bytes are at a position."""
        return tf.reduce_all(tf.stack([self.uint8(position + at) == value for at, value in enumerate(values)]))


def make_upright(image: Tensor, orientation: Tensor) -> Tensor:
    """Returns an image `(height, width, channels)` as a viewer shows it, given its Exif orientation; 1 leaves it as it is."""

    def is_one_of(*values: int) -> Tensor:
        return tf.reduce_any(orientation == tf.constant(values, tf.int64))

    image = tf.cond(is_one_of(5, 6, 7, 8), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(image, [0]), lambda: image)


def jpeg_orientation(file: FileBytes) -> Tensor:
    """Returns the orientation in the first Exif segment of a JPEG file; 1 without one."""

    def read(position: Tensor) -> tuple[Tensor, Tensor]:
        marker = file.uint8(position + 1)
        is_end = (file.uint8(position) != 0xFF) | (marker == 0xDA) | (marker == 0xD9)  # pixels follow 0xDA
        has_no_length = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD8))
        length = tf.where(has_no_length, to_int(2), 2 + file.number(position + 2, 2))
        length = tf.where(marker == 0xFF, to_int(1), length)  # filling
        is_exif = (marker == 0xE1) & file.holds(position + 4, _EXIF) & ~is_end
        return tf.where(is_end, file.size, position + length), tf.where(is_exif, position + 4 + len(_EXIF), to_int(-1))

    return _find(file, 2, read)


def png_orientation(file: FileBytes) -> Tensor:
    """Returns the orientation in the Exif chunk of a PNG file, before or behind its pixels; 1 without one."""

    def read(position: Tensor) -> tuple[Tensor, Tensor]:
        is_exif = file.holds(position + 4, tuple(b"eXIf"))
        return position + 12 + file.number(position, 4), tf.where(is_exif, position + 8, to_int(-1))

    return _find(file, 8, read)


def _find(file: FileBytes, start: int, read: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Reads segment after segment until one has Exif data, and returns the orientation in it."""
    _, found = tf.while_loop(
        lambda position, found: (position < file.size) & (found < 0),
        lambda position, _: read(position),
        (to_int(start), to_int(-1)),
    )
    return tf.cond(found < 0, lambda: to_int(1), lambda: _read_tag(file, found))


def _read_tag(file: FileBytes, start: Tensor) -> Tensor:
    """Returns the orientation in the first directory of a TIFF structure; 1 where it has none."""
    little = file.holds(start, tuple(b"II"))
    directory = start + file.number(start + 4, 4, little)
    count = tf.minimum(file.number(directory, 2, little), to_int(_MOST_ENTRIES))
    entries = directory + 2 + 12 * tf.range(count)
    is_orientation = file.number(entries, 2, little) == _ORIENTATION
    kinds = file.number(entries + 2, 2, little)
    values = tf.where(kinds == _LONG, file.number(entries + 8, 4, little), file.number(entries + 8, 2, little))
    stated = tf.where(is_orientation & ((kinds == _SHORT) | (kinds == _LONG)), values, to_int(0))
    return tf.reduce_max(tf.concat([stated, [to_int(1)]], axis=0))
