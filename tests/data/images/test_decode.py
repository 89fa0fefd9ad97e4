import io
import pickle
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_keras.data.images import decode as images
from vit_keras.data.images.decode import read_image
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import CorruptFileError, DataError, StorageError, VitKerasError

LOSSLESS = ("PNG", "WEBP", "GIF", "BMP")


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}), **options)
    return file.getvalue()


def saved(path, picture, kind="PNG", **options):
    path.write_bytes(encoded(picture, kind, **options))
    return path


def halves(mode="RGB", left="red", right="blue", size=(40, 40)):
    """A picture in two colours."""
    picture = Image.new(mode, size, right)
    picture.paste(Image.new(mode, (size[0] // 2, size[1]), left), (0, 0))
    return picture


def png(width, height, *, bits=8, colour=2, body=b""):
    """A PNG with any header: its pixels, where there are any, are `body`."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", "", ".txt"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_every_format_is_read_by_its_content_whatever_it_is_called(tmp_path, rng, kind, suffix):
    pixels = rng.integers(0, 2, (8, 8, 3)).astype("uint8") * 255
    path = saved(tmp_path / f"picture{suffix}", Image.fromarray(pixels), kind)
    np.testing.assert_array_equal(read_image(path, Preprocessing(image_size=(8, 8))), pixels)


def test_a_jpeg_is_read(tmp_path):
    pixels = read_image(saved(tmp_path / "a.jpg", halves(), "JPEG", quality=95), Preprocessing(image_size=(40, 40)))
    np.testing.assert_allclose(pixels[20, 5], (255, 0, 0), atol=4)
    np.testing.assert_allclose(pixels[20, 35], (0, 0, 255), atol=4)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2), (33, 32), (640, 480)])
def test_any_size_comes_out_at_the_size_asked_for(tmp_path, size):
    path = saved(tmp_path / "a.png", Image.new("RGB", size, (10, 20, 30)))
    pixels = read_image(path, Preprocessing(image_size=(16, 24)))
    assert pixels.shape == (16, 24, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == (10, 20, 30)).all()


def test_a_wide_picture_is_cut_to_its_middle_and_not_squeezed(tmp_path):
    picture = Image.new("RGB", (90, 30), "red")
    picture.paste(Image.new("RGB", (30, 30), "lime"), (30, 0))
    pixels = read_image(saved(tmp_path / "a.png", picture), Preprocessing(image_size=(30, 30)))
    assert (pixels == (0, 255, 0)).all()


def test_a_picture_at_the_size_asked_for_is_left_as_it_is(tmp_path, rng):
    pixels = rng.integers(0, 256, (9, 14, 3)).astype("uint8")
    np.testing.assert_array_equal(
        read_image(saved(tmp_path / "a.png", Image.fromarray(pixels)), Preprocessing(image_size=(9, 14))), pixels
    )


def test_one_channel_is_the_luma(tmp_path, rng):
    pixels = rng.integers(0, 256, (8, 8, 3)).astype("uint8")
    grey = read_image(saved(tmp_path / "a.png", Image.fromarray(pixels)), Preprocessing(image_size=(8, 8), channels=1))
    assert grey.shape == (8, 8, 1)
    np.testing.assert_allclose(grey[..., 0], pixels @ np.array([0.299, 0.587, 0.114]), atol=1)


def test_a_grey_picture_fills_three_channels(tmp_path):
    pixels = read_image(saved(tmp_path / "a.png", Image.new("L", (8, 8), 77)), Preprocessing(image_size=(8, 8)))
    assert (pixels == 77).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_white_and_half_of_it_half_white(tmp_path, kind, channels):
    picture = halves("RGBA", (0, 0, 0, 0), (0, 0, 0, 128))
    pixels = read_image(saved(tmp_path / "a", picture, kind), Preprocessing(image_size=(40, 40), channels=channels))
    assert (pixels[:, :20] == 255).all()
    np.testing.assert_allclose(pixels[:, 20:], 127, atol=1)


def test_grey_with_transparency_is_on_white(tmp_path):
    pixels = read_image(saved(tmp_path / "a.png", halves("LA", (50, 0), (50, 255))), Preprocessing(image_size=(40, 40)))
    assert (pixels[:, :20] == 255).all()
    assert (pixels[:, 20:] == 50).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour_is_on_white(tmp_path, kind):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    picture.paste(0, (0, 0, 4, 8))
    pixels = read_image(saved(tmp_path / "a", picture, kind, transparency=0), Preprocessing(image_size=(8, 8)))
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == (200, 100, 50)).all()


def test_a_palette_with_half_transparent_colours_is_on_white(tmp_path):
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([0, 0, 0])
    pixels = read_image(saved(tmp_path / "a.png", picture, transparency=bytes([128])), Preprocessing(image_size=(8, 8)))
    np.testing.assert_allclose(pixels, 127, atol=1)


@pytest.mark.parametrize(
    ("mode", "transparent", "seen"), [("RGB", (10, 20, 30), (1, 2, 3)), ("L", 10, 77), ("1", 0, 255)]
)
def test_a_png_with_one_transparent_colour_is_on_white(tmp_path, mode, transparent, seen):
    picture = Image.new(mode, (8, 8), seen)
    picture.paste(transparent, (0, 0, 4, 8))
    pixels = read_image(saved(tmp_path / "a.png", picture, transparency=transparent), Preprocessing(image_size=(8, 8)))
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == seen).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_png_keeps_its_mean(tmp_path, channels):
    ramp = np.linspace(0, 65535, 64 * 64).astype("uint16").reshape(64, 64)
    pixels = read_image(
        saved(tmp_path / "a.png", Image.fromarray(ramp)), Preprocessing(image_size=(64, 64), channels=channels)
    )
    assert abs(pixels.mean() - 127.5) < 1
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_16_bit_colour_png_keeps_its_colours(tmp_path):
    row = b"\0" + struct.pack(">3H", 65535, 32896, 0) * 8
    (tmp_path / "a.png").write_bytes(png(8, 8, bits=16, body=row * 8))
    np.testing.assert_allclose(
        read_image(tmp_path / "a.png", Preprocessing(image_size=(8, 8))), np.full((8, 8, 3), (255, 128, 0)), atol=1
    )


def test_one_bit_is_black_and_white(tmp_path):
    pixels = read_image(saved(tmp_path / "a.png", halves("1", 0, 1)), Preprocessing(image_size=(40, 40)))
    assert (pixels[:, :20] == 0).all()
    assert (pixels[:, 20:] == 255).all()


def test_cmyk_becomes_the_colours_it_prints(tmp_path):
    picture = halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0))
    pixels = read_image(saved(tmp_path / "a.jpg", picture, "JPEG", quality=95), Preprocessing(image_size=(40, 40)))
    np.testing.assert_allclose(pixels[20, 5], (255, 0, 0), atol=5)
    np.testing.assert_allclose(pixels[20, 35], (0, 0, 255), atol=5)


def corner(pixels):
    """Returns where the red corner of a blue picture is."""
    rows, columns = np.nonzero(pixels[..., 0] > 128)
    return ("top" if rows.mean() < 10 else "bottom") + (" left" if columns.mean() < 10 else " right")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_with_an_orientation_is_read_upright(tmp_path, orientation, kind):
    upright = Image.new("RGB", (20, 20), "blue")
    upright.paste("red", (0, 0, 8, 8))
    # Pillow's operation for each orientation is what brings the stored picture upright; its inverse stores it.
    turns = {
        2: "FLIP_LEFT_RIGHT",
        3: "ROTATE_180",
        4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE",
        6: "ROTATE_90",
        7: "TRANSVERSE",
    }
    turns[8] = "ROTATE_270"
    stored = upright.transpose(getattr(Image.Transpose, turns[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a", stored, kind, exif=exif.tobytes())
    assert corner(read_image(path, Preprocessing(image_size=(20, 20)))) == "top left"


def test_an_orientation_beside_a_tag_of_the_wrong_kind_is_read_upright(tmp_path):
    # Width, a number, is stored as the text "abc"; the orientation is 3.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\0\0\x02\0\0\0\x04abc\0\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
    upright = Image.new("RGB", (20, 20), "blue")
    upright.paste("red", (0, 0, 8, 8))
    path = saved(tmp_path / "a.jpg", upright.transpose(Image.Transpose.ROTATE_180), "JPEG", exif=exif)
    assert corner(read_image(path, Preprocessing(image_size=(20, 20)))) == "top left"


def test_an_orientation_swaps_the_sides_before_the_middle_is_cut_out(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (90, 30), "red")
    picture.paste(Image.new("RGB", (30, 30), "lime"), (30, 0))
    pixels = read_image(saved(tmp_path / "a.png", picture, exif=exif.tobytes()), Preprocessing(image_size=(90, 30)))
    assert (pixels[35:55] == (0, 255, 0)).all()
    assert (pixels[:25] == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    path = saved(tmp_path / "a", frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert (read_image(path, Preprocessing(image_size=(8, 8))) == (255, 0, 0)).all()


@pytest.mark.parametrize("name", ["été 猫 😀.png", "a b%20{c}.png", "quo\"te'.png", "new\nline.png", "-.png"])
def test_any_name_will_do(tmp_path, name):
    assert read_image(saved(tmp_path / name, halves()), Preprocessing(image_size=(8, 8))).shape == (8, 8, 3)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"nowhere\.png: there is no such file"):
        read_image(tmp_path / "nowhere.png", Preprocessing(image_size=(8, 8)))


def test_a_folder_is_no_image(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(StorageError, match=r"folder\.jpg"):
        read_image(tmp_path / "folder.jpg", Preprocessing(image_size=(8, 8)))


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"hello, this is text\n" * 9, "no image", id="text"),
        pytest.param(b"\n  <!DOCTYPE html><html>", "HTML", id="html"),
        pytest.param(b"<HTML><body>404</body>", "HTML", id="upper-case html"),
        pytest.param(pickle.dumps(list(range(99)), protocol=2), "pickle", id="pickle 2"),
        pytest.param(pickle.dumps(list(range(99)), protocol=4), "pickle", id="pickle 4"),
        pytest.param(pickle.dumps(list(range(99)), protocol=5), "pickle", id="pickle 5"),
        pytest.param(zipped(), "zip", id="zip"),
        pytest.param(bytes(100), "", id="zeros"),
        pytest.param(b"%PDF-1.7\n", "PDF", id="pdf"),
        pytest.param(b"\0\0\0\x20ftypheic" + bytes(50), "HEIC", id="heic"),
        pytest.param(b"\xff\xd8", "", id="two bytes of jpeg"),
    ],
)
def test_what_is_no_image_is_told_by_its_content(tmp_path, content, told):
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"picture\.jpg: not an image.*{told}.*expected one of JPEG, PNG, WEBP, GIF, BMP"
    ):
        read_image(path, Preprocessing(image_size=(8, 8)))


@pytest.mark.parametrize("kind", ["AVIF", "ICO", "JPEG2000", "TGA"])
def test_other_formats_are_refused(tmp_path, kind):
    with pytest.raises(VitKerasError, match=r"picture\.png"):
        read_image(saved(tmp_path / "picture.png", halves(), kind), Preprocessing(image_size=(8, 8)))


@pytest.mark.parametrize("rest", [0.5, 0.9, -2])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_file_is_corrupt(tmp_path, rng, kind, rest):
    content = encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype("uint8")), kind)
    path = tmp_path / "picture"
    path.write_bytes(content[: int(len(content) * rest) if rest > 0 else rest])
    if kind == "PNG" and rest == -2:
        read_image(path, Preprocessing(image_size=(8, 8)))  # all its pixels are there; only the last check sum is cut
        return
    with pytest.raises(CorruptFileError, match="picture: truncated or damaged"):
        read_image(path, Preprocessing(image_size=(8, 8)))


def test_a_png_with_a_wrong_check_sum_is_corrupt(tmp_path, rng):
    content = bytearray(encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype("uint8")), "PNG"))
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"a\.png: truncated or damaged"):
        read_image(tmp_path / "a.png", Preprocessing(image_size=(8, 8)))


@pytest.mark.parametrize("size", [(7072, 7072), (13450, 13450), (30000, 30000), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_from_the_header_alone(tmp_path, monkeypatch, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size))
    decoded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: decoded.append(image))
    with pytest.raises(DataError, match=r"bomb\.png: .*limit.* 50 million"):
        read_image(path, Preprocessing(image_size=(8, 8)))
    assert not decoded


def test_just_below_the_limit_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGEST_PIXELS", 40 * 40)
    assert read_image(saved(tmp_path / "a.png", halves()), Preprocessing(image_size=(8, 8))).shape == (8, 8, 3)
    monkeypatch.setattr(images, "LARGEST_PIXELS", 40 * 40 - 1)
    with pytest.raises(DataError, match="40x40"):
        read_image(tmp_path / "a.png", Preprocessing(image_size=(8, 8)))


@pytest.mark.parametrize("size", [(0, 0), (0, 5)])
def test_a_header_without_pixels_is_refused(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png(*size))
    with pytest.raises(VitKerasError, match=r"a\.png"):
        read_image(tmp_path / "a.png", Preprocessing(image_size=(8, 8)))


def test_too_many_bytes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGEST_BYTES", 50)
    with pytest.raises(DataError, match=r"a\.png: .*over the limit"):
        read_image(saved(tmp_path / "a.png", halves()), Preprocessing(image_size=(8, 8)))


def test_a_file_without_permission_is_a_storage_error(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", halves())

    def refused(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(StorageError, match=r"a\.png: permission denied"):
        read_image(path, Preprocessing(image_size=(8, 8)))


def test_an_error_of_the_disk_is_one_of_our_errors(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", halves())

    def broken(*arguments, **keywords):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", broken)
    with pytest.raises(VitKerasError, match=r"a\.png.*Input/output error"):
        read_image(path, Preprocessing(image_size=(8, 8)))


@pytest.mark.parametrize("kind", ["JPEG", *LOSSLESS])
def test_a_damaged_file_is_read_or_refused_by_our_errors_alone(tmp_path, kind):
    rng = random.Random(0)
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype("uint8")
    good, path = encoded(Image.fromarray(noise), kind), tmp_path / "picture"
    read, refusals = 0, []
    for _ in range(300):
        content = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            content[rng.randrange(len(content) if rng.random() < 0.5 else min(64, len(content)))] = rng.randrange(256)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            assert read_image(path, Preprocessing(image_size=(8, 8))).shape == (8, 8, 3)
            read += 1
        except VitKerasError as error:
            refusals.append(str(error))
    assert read
    assert refusals
    assert all(str(path) in refusal for refusal in refusals)
