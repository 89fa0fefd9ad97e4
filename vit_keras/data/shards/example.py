"""Parses `tf.train.Example` messages without TensorFlow, and says where the bytes of each feature are."""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_SIGN = 1 << 63


class Part(NamedTuple):
    """A part of a buffer."""

    start: int
    end: int


def parse_example(buffer: Any, start: int, end: int) -> dict[str, list[Any]]:
    """Returns the values of each feature of the `tf.train.Example` in a part of a buffer: integers, floats, or the `Part`s of bytes.

    Raises ValueError, IndexError or struct.error for anything else.
    """
    features: dict[str, list[Any]] = {}
    for number, message in _parse(buffer, start, end):
        if number != 1 or not isinstance(message, Part):
            raise ValueError("not a tf.train.Example")
        for _, entry in _parse(buffer, *message):  # of the map of features
            fields = dict(_parse(buffer, *entry))
            name, feature = fields.get(1, Part(0, 0)), fields.get(2, Part(0, 0))
            features[bytes(buffer[name.start : name.end]).decode()] = _parse_feature(buffer, feature)
    return features


def _parse_feature(buffer: Any, feature: Part) -> list[Any]:
    for kind, values in _parse(buffer, *feature):  # 1 bytes, 2 floats, 3 integers
        found: list[Any] = []
        for _, value in _parse(buffer, *values):
            if kind == 1 or not isinstance(value, Part):
                found.append(value)
            elif kind == 2:
                found += struct.unpack(f"<{(value.end - value.start) // 4}f", buffer[value.start : value.end])
            else:
                place = value.start
                while place < value.end:
                    number, place = _read_varint(buffer, place)
                    found.append(number)
        return [each - 2 * _SIGN if isinstance(each, int) and each >= _SIGN else each for each in found]
    return []


def _parse(buffer: Any, start: int, end: int) -> Iterator[tuple[int, Any]]:
    """Yields number and value of each field of a message."""
    place = start
    while place < end:
        tag, place = _read_varint(buffer, place)
        kind = tag & 7
        value: Any
        if kind == _VARINT:
            value, place = _read_varint(buffer, place)
        elif kind == _LENGTH:
            length, place = _read_varint(buffer, place)
            value, place = Part(place, place + length), place + length
        elif kind == _FOUR_BYTES:
            value, place = struct.unpack("<f", buffer[place : place + 4])[0], place + 4
        elif kind == _EIGHT_BYTES:
            value, place = struct.unpack("<d", buffer[place : place + 8])[0], place + 8
        else:
            raise ValueError(f"wire type {kind}")
        if place > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, value


def _read_varint(buffer: Any, place: int) -> tuple[int, int]:
    """Returns an integer and the place behind it."""
    value = shift = 0
    while True:
        byte = buffer[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("an integer has more than 64 bits")
