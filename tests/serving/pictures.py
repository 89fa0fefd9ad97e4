"""Image files as bytes, good and bad ones."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encode(pixels, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def noise(height=16, width=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype("uint8")


def bomb(side):
    """A PNG of a few kB whose header declares `side` x `side` black pixels, all of which it has."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packed, row = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    rows = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BAD = {
    "text": b"hello",
    "page": b"<!DOCTYPE html><p>no image</p>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "pickle": b"\x80\x04\x95\x00",
    "zip": b"PK\x03\x04" + bytes(100),
    "half": encode(noise(64, 64))[:2000],
    "zeros": bytes(500),
    "bomb": bomb(6000),
    "large bomb": bomb(15000),
}
