"""Recognizes a file's format by its first bytes, whatever its name."""

import functools
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
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif"),
}
"""The supported image formats, by Pillow's names, and their usual file name suffixes; HEIF needs the package pillow-heif."""
FORMATS = tuple(SUFFIXES)
USUAL_SUFFIXES = tuple(suffix for name, suffixes in SUFFIXES.items() if name != "HEIF" for suffix in suffixes)
# Most camera raw files start as TIFF does, and have a small preview as their first image.
_RAW_SUFFIXES = (".raw", ".cr2", ".nef", ".nrw", ".arw", ".sr2", ".dng", ".orf", ".rw2", ".pef", ".srw", ".3fr", ".iiq")

_PPM = re.compile(rb"P[1-6]\s(\s*#[^\n]*\n)*\s*\d+\s(\s*#[^\n]*\n)*\s*\d+\s")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of the header behind the first 14
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_CONVERT, _DEVELOP = "convert it to PNG or JPEG", "develop it, and save PNG or JPEG"
_HEIF_MISSING = "HEIC; install pillow-heif to read it (pip install 'vit-keras-zoo[heic]'), or convert it to PNG or JPEG"
_UNSUPPORTED = (
    (0, rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", _CONVERT),
    (0, rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", _CONVERT),
    (0, rb"8BPS", "a Photoshop file", _CONVERT),
    (0, rb"\0\0\x01\0[\x01-\x40]\0", "an icon", _CONVERT),
    (0, rb"\x76\x2f\x31\x01", "OpenEXR", _CONVERT),
    (
        0,
        rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]",
        "SVG",
        "draw it as PNG, of at least the model's size",
    ),
    (0, rb"FUJIFILMCCD-RAW|II[RU][OS\0]|II\*\0.{4}CR|\0MRM|FOVb", "camera raw", _DEVELOP),
    (4, rb"ftypcrx ", "camera raw", _DEVELOP),
    (
        128,
        rb"DICM",
        "DICOM",
        "choose the window of values that matters (pydicom reads it), and save gray PNG of 8 or 16 bits",
    ),
)
"""Place of the first bytes, their pattern, the format's name, and what to do with it."""
_NOT_IMAGES = (
    (rb"\x80[\x02-\x05]", "a pickle"),
    (rb"\x93NUMPY", "a numpy array; pass it to vk.data.load as (images, labels)"),
    (rb"PK", "a zip archive"),
    (rb"%PDF", "a PDF; save its images or pages as PNG"),
    (rb"(?i)\s*<(!doctype|html)", "HTML"),
    (rb".{4}ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "a video"),
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
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):  # + is BigTIFF
        return None if _unsupported_format(start) else "TIFF"
    if start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    brands = _read_brands(start)
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if brands & _HEIF_BRANDS:
        return "HEIF"
    return "PPM" if _PPM.match(start) else None


def _read_brands(start: bytes) -> set[bytes]:
    """Returns the brands of an ISO media file: the major one, and those it is compatible with."""
    if start[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(start[:4], "big"), START)
    return {start[8:12], *(start[place : place + 4] for place in range(16, end, 4))}


@functools.cache
def can_read_heif() -> bool:
    """Whether HEIC files can be read; the first call adds pillow-heif, where it is installed, to Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def readable_formats() -> tuple[str, ...]:
    """Returns the formats that can be read here."""
    return FORMATS if can_read_heif() else tuple(name for name in FORMATS if name != "HEIF")


def _unsupported_format(start: bytes) -> str | None:
    """Returns the name of an image format that is not supported, with what to do about it."""
    for place, sign, name, hint in _UNSUPPORTED:
        if re.match(sign, start[place:], re.DOTALL):
            return f"{name}; {hint}"
    return None


def describe_content(start: bytes) -> str:
    """Says what a file seems to be that can't be read as an image, given its first `START` bytes."""
    if not start:
        return "the file is empty"
    if not start.strip(b"\0"):
        return "no image data: its first bytes are all zero"
    if detect_format(start) == "HEIF" and not can_read_heif():
        return f"it looks like {_HEIF_MISSING}"
    found = _unsupported_format(start) or next(
        (name for sign, name in _NOT_IMAGES if re.match(sign, start, re.DOTALL)), None
    )
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
    start = _read_start(path)
    detected = detect_format(start)
    if detected == "HEIF" and not can_read_heif():
        return f"unsupported format: {_HEIF_MISSING}"
    if detected is not None and not (detected == "TIFF" and is_raw(path)):
        return ""
    unsupported = f"camera raw; {_DEVELOP}" if detected else _unsupported_format(start)
    return None if unsupported is None else f"unsupported format: {unsupported}"


def is_raw(path: str) -> bool:
    """Whether a file name has the suffix of camera raw, which starts as TIFF does but has only a small preview as an image."""
    return path.lower().endswith(_RAW_SUFFIXES)
