import pickle
import struct
from unittest.mock import Mock

import numpy as np
import pytest
from data.pictures import encoded, png, tagged
from PIL import Image

from vit_keras.data.images import decode
from vit_keras.data.images.decode import read_image
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import CorruptFileError, DataError, StorageError, VitKerasError


def read(path, *size, channels=3):
    return read_image(path, Preprocessing(image_size=size or (8, 8), channels=channels))


def saved(path, picture, kind="PNG", **options):
    path.write_bytes(encoded(picture, kind, **options))
    return path


def halves(mode="RGB", left="red", right="blue", size=(40, 40)):
    """An image in two colors."""
    picture = Image.new(mode, size, right)
    picture.paste(Image.new(mode, (size[0] // 2, size[1]), left), (0, 0))
    return picture


@pytest.mark.parametrize(
    ("kind", "name"),
    [("PNG", "picture.jpg"), ("WEBP", "picture"), ("GIF", "été 猫 😀.txt"), ("BMP", "new\nline.png")],
)
def test_a_format_is_recognized_by_its_content_whatever_its_name(tmp_path, rng, kind, name):
    pixels = rng.integers(0, 2, (8, 8, 3)).astype("uint8") * 255
    found = read(saved(tmp_path / name, Image.fromarray(pixels), kind))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.mark.parametrize(
    ("picture", "kind", "left", "right"),
    [
        (halves(), "JPEG", RED, BLUE),
        (halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "JPEG", RED, BLUE),
        (halves("L", 77, 200), "PNG", (77,) * 3, (200,) * 3),
        (halves("1", 0, 1), "PNG", (0, 0, 0), WHITE),
        (halves("RGBA", (0, 0, 0, 0), (0, 0, 0, 128)), "PNG", WHITE, (127,) * 3),
        (halves("RGBA", (0, 0, 0, 0), (0, 0, 0, 128)), "WEBP", WHITE, (127,) * 3),
        (halves("LA", (50, 0), (50, 255)), "PNG", WHITE, (50,) * 3),
    ],
    ids=["JPEG", "CMYK", "L", "1", "RGBA", "RGBA WebP", "LA"],
)
def test_every_mode_becomes_color_on_white(tmp_path, picture, kind, left, right):
    options = {"quality": 95} if kind == "JPEG" else {}
    pixels = read(saved(tmp_path / "a", picture, kind, **options), 40, 40)
    for column, color in ((5, left), (35, right)):
        np.testing.assert_allclose(pixels[20, column], color, atol=5 if kind == "JPEG" else 1)


def test_one_channel_is_the_luma(tmp_path, rng):
    pixels = rng.integers(0, 256, (8, 8, 3)).astype("uint8")
    gray = read(saved(tmp_path / "a.png", Image.fromarray(pixels)), channels=1)
    assert gray.shape == (8, 8, 1)
    np.testing.assert_allclose(gray[..., 0], pixels @ np.array([0.299, 0.587, 0.114]), atol=1)
    transparent = halves("RGBA", (0, 0, 0, 0), (0, 0, 0, 128))
    assert (read(saved(tmp_path / "b.png", transparent), 40, 40, channels=1)[:, :20] == 255).all()


@pytest.mark.parametrize(
    ("mode", "kind", "transparent", "seen"),
    [("P", "PNG", 0, 1), ("P", "GIF", 0, 1), ("RGB", "PNG", (10, 20, 30), (1, 2, 3)), ("L", "PNG", 10, 77), ("1", "PNG", 0, 255)],
)  # fmt: skip
def test_a_transparent_color_becomes_white(tmp_path, mode, kind, transparent, seen):
    picture = Image.new(mode, (8, 8), seen)
    if mode == "P":
        picture.putpalette([0, 0, 0, 200, 100, 50])
    picture.paste(transparent, (0, 0, 4, 8))
    pixels = read(saved(tmp_path / "a", picture, kind, transparency=transparent))
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == ((200, 100, 50) if mode == "P" else seen)).all()
    if (mode, kind) == ("P", "PNG"):
        half = Image.new("P", (8, 8), 0)
        half.putpalette([0, 0, 0])
        np.testing.assert_allclose(read(saved(tmp_path / "b", half, transparency=bytes([128]))), 127, atol=1)


def test_a_16_bit_color_png_keeps_its_colors(tmp_path):
    row = b"\0" + struct.pack(">3H", 65535, 32896, 0) * 8
    (tmp_path / "a.png").write_bytes(png(8, 8, bits=16, body=row * 8))
    np.testing.assert_allclose(read(tmp_path / "a.png"), np.full((8, 8, 3), (255, 128, 0)), atol=1)


# Pillow's transpose for each orientation stores the upright image; its inverse makes it upright again.
STORED = {
    1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
}  # fmt: skip
MALFORMED = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\0\0\x02\0\0\0\x04abc\0\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
"""Exif data whose width is the text "abc", with the orientation 3."""


@pytest.mark.parametrize(
    ("orientation", "kind", "exif"),
    [(number, "JPEG", None) for number in STORED] + [(6, "PNG", None), (6, "WEBP", None), (3, "JPEG", MALFORMED)],
)
def test_an_image_is_turned_upright(tmp_path, orientation, kind, exif):
    upright = Image.new("RGB", (20, 20), "blue")
    upright.paste("red", (0, 0, 8, 8))
    turn = STORED[orientation]
    stored = upright.transpose(getattr(Image.Transpose, turn)) if turn else upright
    pixels = read(saved(tmp_path / "a", stored, kind, exif=exif or tagged(orientation)), 20, 20)
    for place in np.nonzero(pixels[..., 0] > 128):
        assert place.mean() < 10


def test_the_sides_are_swapped_before_the_center_is_cropped(tmp_path):
    picture = Image.new("RGB", (90, 30), "red")
    picture.paste("lime", (30, 0, 60, 30))
    pixels = read(saved(tmp_path / "a.png", picture, exif=tagged(6)), 90, 30)
    assert (pixels[35:55] == (0, 255, 0)).all()
    assert (pixels[:25] == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_read(tmp_path, kind):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    path = saved(tmp_path / "a", frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert (read(path) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"), (b"hello, this is text\n" * 9, "no image"), (b"\n  <!DOCTYPE html><html>", "HTML"),
        (b"<HTML><body>404</body>", "HTML"), (pickle.dumps([1], protocol=2), "pickle"), (pickle.dumps([1], protocol=5), "pickle"),
        (b"PK\3\4" + bytes(50), "zip"), (bytes(500), "no image data: its first bytes are all zero"), (bytes(4) + b"ftypisom" + bytes(50), "a video"), (b"%PDF-1.7\n", "PDF"), (b"\xff\x0a" + bytes(9), "JPEG XL"),
        (bytes(128) + b"DICM" + bytes(50), "DICOM; choose the window.* save gray PNG"), (b"<svg xmlns=", "SVG; draw it as PNG"),
        (b"FUJIFILMCCD-RAW 0201", "camera raw; develop it"), (b"\0\0\0\x18ftypcrx " + bytes(50), "camera raw"),
        (b"\x93NUMPY\1\0v\0", "numpy array"),
        (b"\xff\xd8", ""), *((encoded(halves(), kind), "") for kind in ("ICO", "JPEG2000", "TGA")),
    ],
)  # fmt: skip
def test_other_content_is_an_error_that_describes_it(tmp_path, content, message):
    (tmp_path / "picture.jpg").write_bytes(content)
    expected = rf"picture\.jpg: not a supported image.*{message}.*expected one of JPEG, PNG, WEBP, GIF, BMP"
    with pytest.raises(DataError, match=expected):
        read(tmp_path / "picture.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_file_is_corrupt(tmp_path, rng, kind):
    content = encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype("uint8")), kind)
    path = tmp_path / "picture"
    for rest in (len(content) // 2, len(content) - 2):
        path.write_bytes(content[:rest])
        if kind == "PNG" and rest == len(content) - 2:
            read(path)  # all pixels are there; only the last checksum is cut off
            continue
        with pytest.raises(CorruptFileError, match="picture: truncated or damaged"):
            read(path)


@pytest.mark.parametrize("size", [(7072, 7072), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_rejected_by_the_header(tmp_path, monkeypatch, size):
    (tmp_path / "bomb.png").write_bytes(png(*size))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"bomb\.png: .*limit.* 50 million"):
        read(tmp_path / "bomb.png")


def test_a_header_without_pixels_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(png(0, 5))
    with pytest.raises(VitKerasError, match=r"a\.png"):
        read(tmp_path / "a.png")


def test_limits_of_pixels_and_bytes(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", halves())
    monkeypatch.setattr(decode, "LARGEST_PIXELS", 40 * 40)
    assert read(path).shape == (8, 8, 3)
    monkeypatch.setattr(decode, "LARGEST_PIXELS", 40 * 40 - 1)
    with pytest.raises(DataError, match="40x40"):
        read(path)
    monkeypatch.setattr(decode, "LARGEST_BYTES", 50)
    with pytest.raises(DataError, match=r"a\.png: .*over the limit"):
        read(path)


def test_an_error_of_the_file_system_is_a_storage_error(tmp_path, monkeypatch):
    with pytest.raises(StorageError, match=r"nowhere\.png: there is no such file"):
        read(tmp_path / "nowhere.png")
    with pytest.raises(StorageError, match="not a file"):
        read(tmp_path)
    path = saved(tmp_path / "a.png", halves())
    for error, message in (
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError(5, "Input/output error"), ".*Input/output error"),
    ):
        for name in ("builtins.open", "pathlib.Path.open"):
            monkeypatch.setattr(name, Mock(side_effect=error))
        with pytest.raises(StorageError, match=rf"a\.png: {message}"):
            read(path)
