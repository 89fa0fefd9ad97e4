"""Recognizes a file's format by its first bytes, whatever its name."""

import os
import re
import stat

START = 512  # bytes that are enough to recognize a format
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
}
"""The supported image formats, by Pillow's names, and their usual file name suffixes."""
FORMATS = tuple(SUFFIXES)
USUAL_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
# Camera raw files start as TIFF does, and have a small preview as their first image.
_RAW_SUFFIXES = (".raw", ".cr2", ".nef", ".arw", ".dng", ".orf", ".rw2")

_PPM = re.compile(rb"P[1-6]\s(\s*#[^\n]*\n)*\s*\d+\s(\s*#[^\n]*\n)*\s*\d+\s")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of the header behind the first 14
_UNSUPPORTED = (
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
_NOT_IMAGES = (
    (rb"\x80[\x02-\x05]", "a pickle"),
    (rb"PK", "a zip archive"),
    (rb"%PDF", "a PDF"),
    (rb"(?i)\s*<(!doctype|html)", "HTML"),
    (rb"\0\0\0", "an ISO media file such as MP4"),
)


def detect_format(start: bytes) -> str | None:
    """Returns which of `FORMATS` a file's first `START` bytes are of, or None."""
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


def _unsupported_format(start: bytes) -> str | None:
    return next((name for place, sign, name in _UNSUPPORTED if re.match(sign, start[place:], re.DOTALL)), None)


def describe_content(start: bytes) -> str:
    """Says what a file seems to be that is not a supported image, given its first `START` bytes."""
    if not start:
        return "the file is empty"
    found = _unsupported_format(start) or next((name for sign, name in _NOT_IMAGES if re.match(sign, start)), None)
    return f"it looks like {found}" if found else "its first bytes are of no image format"


def _read_start(path: str) -> bytes:
    """Returns the first bytes of a regular file; none if it is not one or can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            return file.read(START) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""


def inspect_start(path: str) -> str | None:
    """Returns "" for a file that starts as a supported image, a reason for an unsupported image, and None for no image."""
    start, suffix = _read_start(path), os.path.splitext(path)[1].lower()
    detected = detect_format(start)
    if detected is not None and not (detected == "TIFF" and suffix in _RAW_SUFFIXES):
        return ""
    unsupported = f"camera raw ({suffix})" if detected else _unsupported_format(start)
    return None if unsupported is None else f"unsupported format: {unsupported}; convert it to PNG or JPEG"
