"""Describes a TIFF file that Pillow does not read, by the tags of its first page."""

import struct

_SAMPLES, _BITS, _FORMAT = 277, 258, 339
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the tags above
_FLOAT = 3  # of the tag SampleFormat
_ADVICE = "save gray or RGB with 8 bits per channel, or gray with 16 bits or floating-point pixels"


def describe_tiff(content: bytes) -> str:
    r"""Returns what a TIFF file contains and what to save instead.

    Example:
        >>> describe_tiff(b"II*\0" + bytes(8))
        'a TIFF whose layout is not supported; save gray or RGB with 8 bits per channel, or gray with 16 bits or floating-point pixels'
    """
    try:
        tags = _read_tags(content)
    except (struct.error, KeyError):
        tags = {}
    channels, bits = tags.get(_SAMPLES), tags.get(_BITS, ())
    if not channels:
        return f"a TIFF whose layout is not supported; {_ADVICE}"
    kind = "floating-point numbers of " if tags.get(_FORMAT, (1,))[0] == _FLOAT else ""
    count = f"{channels[0]} channel{'' if channels[0] == 1 else 's'}"
    return f"a TIFF with {count} of {kind}{'/'.join(map(str, sorted(set(bits))))} bits; {_ADVICE}"


def _read_tags(content: bytes) -> dict[int, tuple[int, ...]]:
    """Returns the integer tags of the first page of a TIFF or BigTIFF file."""
    order = "<" if content[:2] == b"II" else ">"
    big = 43 in content[2:4]
    place = struct.unpack_from(order + ("8xQ" if big else "4xI"), content)[0]
    count_form, entry_form, entry_size = ("Q", "HHQ", 20) if big else ("H", "HHI", 12)
    (count,) = struct.unpack_from(order + count_form, content, place)
    place += struct.calcsize(order + count_form)
    tags = {}
    for entry in range(place, place + min(count, 1000) * entry_size, entry_size):
        tag, kind, length = struct.unpack_from(order + entry_form, content, entry)
        if tag not in (_SAMPLES, _BITS, _FORMAT) or kind not in _TYPES:
            continue
        form, value = f"{order}{min(length, 64)}{_TYPES[kind]}", entry + struct.calcsize(order + entry_form)
        if struct.calcsize(form) > (8 if big else 4):  # elsewhere in the file
            (value,) = struct.unpack_from(order + ("Q" if big else "I"), content, value)
        tags[tag] = struct.unpack_from(form, content, value)
    return tags
