"""What a file is by its first bytes, whatever it is called."""

import os
import re
import stat

START = 512
"""Bytes that tell."""

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
}
"""Image formats that are read, by Pillow's names, and how their files usually end."""
FORMATS = tuple(SUFFIXES)
USUAL_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
_RAW_SUFFIXES = (".raw", ".cr2", ".nef", ".arw", ".dng", ".orf", ".rw2")
"""Of cameras' own files, which start as TIFF does and hold a small preview where an image is expected."""

_PPM = re.compile(rb"P[1-6]\s(\s*#[^\n]*\n)*\s*\d+\s(\s*#[^\n]*\n)*\s*\d+\s")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of the header behind the first 14
_OTHERS = (
    (0, rb"II\+\0|MM\0\+", "a BigTIFF"),
    (4, rb"ftyp(hei|hev|mif|msf)", "HEIC"),
    (4, rb"ftypavi[fs]", "AVIF"),
    (0, rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (0, rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (0, rb"8BPS", "a Photoshop file"),
    (0, rb"\0\0\x01\0[\x01-\x40]\0", "an icon"),
    (0, rb"\x76\x2f\x31\x01", "OpenEXR"),
    (0, rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", "SVG"),
)
_NO_IMAGES = (
    (rb"\x80[\x02-\x05]", "a pickle"),
    (rb"PK", "a zip archive"),
    (rb"%PDF", "a PDF"),
    (rb"(?i)\s*<(!doctype|html)", "HTML"),
    (rb"\0\0\0", "an ISO media file such as MP4"),
)


def image_format(start: bytes) -> str | None:
    r"""Returns the format of an image that is read, one of `FORMATS`; None for anything else.

    Args:
        start: The first `START` bytes of a file.

    Example:
        >>> image_format(b"\xff\xd8\xff\xe0"), image_format(b"P5 3 4 255 "), image_format(b"P5 is a number")
        ('JPEG', 'PPM', None)
    """
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    if start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return "PPM" if _PPM.match(start) else None


def other_image(start: bytes) -> str | None:
    """Returns what an image is that is not read, in words; None for what is no image.

    Args:
        start: The first `START` bytes of a file.
    """
    return next((name for place, sign, name in _OTHERS if re.match(sign, start[place:], re.DOTALL)), None)


def described(start: bytes) -> str:
    """Returns what a file that is no image to be read seems to be, in words.

    Args:
        start: The first `START` bytes of a file.
    """
    if not start:
        return "the file is empty"
    found = other_image(start) or next((name for sign, name in _NO_IMAGES if re.match(sign, start)), None)
    return f"it looks like {found}" if found else "its first bytes are of no image format"


def read_start(path: str) -> bytes:
    """Returns the first bytes of a regular file; none of what can't be read, and of what is no file.

    Args:
        path: The file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            return file.read(START) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""


def is_image(path: str) -> bool:
    """Returns whether a file is an image to be read: its name promises it, or its first bytes are those of one.

    Args:
        path: The file; it is opened only where its name tells nothing.
    """
    return path.lower().endswith(USUAL_SUFFIXES) or judged(path) == ""


def judged(path: str) -> str | None:
    """Returns why a file of no usual name is left out: an empty word for an image to be read, None for what is no image.

    Args:
        path: The file.
    """
    start, suffix = read_start(path), os.path.splitext(path)[1].lower()
    kind = image_format(start)
    if kind is not None and not (kind == "TIFF" and suffix in _RAW_SUFFIXES):
        return ""
    what = f"a camera's own {suffix}" if kind else other_image(start)
    return None if what is None else f"unsupported format: {what} is not read; convert it to PNG or JPEG"
