"""Files as cameras, scanners and microscopes write them; the expected pixels are Pillow's or numpy's."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from data import pictures
from PIL import Image

from vit_keras.data import Preprocessing, ReadOptions, check, load
from vit_keras.data.images import signatures
from vit_keras.data.images.decode import Picture, read_image
from vit_keras.errors import DataError, InvalidArgumentError

RNG = np.random.default_rng(0)
SIDE = 8
COLORS = RNG.integers(0, 256, (SIDE, SIDE, 3)).astype("uint8")
RULE = Preprocessing(image_size=(SIDE, SIDE))
GRAY_RULE = RULE.replace(channels=1)


def saved(folder, picture, kind, name="a", **options):
    path = folder / name
    picture.save(path, kind, **options)
    return path


def tiff(samples, dtype="uint8", *, order="<", sample_format=1):
    """A TIFF with any number of channels, which Pillow can't write."""
    pixels = RNG.integers(0, 200, (4, 4, samples)).astype(dtype)
    bits = [pixels.dtype.itemsize * 8] * samples
    entries = [
        (256, "H", [4]), (257, "H", [4]), (258, "H", bits), (259, "H", [1]), (262, "H", [1]), (273, "I", [8]), (277, "H", [samples]),
        (278, "H", [4]), (279, "I", [pixels.nbytes]), (339, "H", [sample_format] * samples),
    ]  # fmt: skip
    body = pixels.tobytes()
    place, tail = 8 + len(body), b""
    end = place + 2 + 12 * len(entries) + 4
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, values in entries:
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(value) > 4:
            value, tail = struct.pack(order + "I", end + len(tail)), tail + value
        directory += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + value.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", place)
    return start + body + directory + bytes(4) + tail


def test_avif_is_read_as_pillow_decodes_it(tmp_path):
    path = saved(tmp_path, Image.fromarray(COLORS), "AVIF", quality=95)
    np.testing.assert_array_equal(read_image(path, RULE), np.asarray(Image.open(path).convert("RGB")))


def test_avif_is_turned_upright_and_put_on_white_and_its_first_frame_is_read(tmp_path):
    upright = Image.new("RGBA", (40, 40), (0, 0, 255, 255))
    upright.paste((0, 0, 0, 0), (0, 0, 40, 20))  # transparent above
    turned = saved(tmp_path, upright.transpose(Image.Transpose.ROTATE_90), "AVIF", quality=95, exif=pictures.tagged(6))
    pixels = read_image(turned, RULE.replace(image_size=(40, 40))).astype(int)
    assert (pixels[:18] > 250).all()
    np.testing.assert_allclose(pixels[22:].reshape(-1, 3), [[0, 0, 255]] * 18 * 40, atol=8)
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "lime", "blue")]
    moving = saved(tmp_path, frames[0], "AVIF", name="b.avif", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(read_image(moving, RULE), np.broadcast_to((255, 0, 0), (8, 8, 3)), atol=4)


@pytest.mark.skipif(not signatures.can_read_heif(), reason="pillow-heif is an extra")
def test_heic_is_read_upright(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    upright = Image.new("RGB", (64, 64), "blue")
    upright.paste("red", (0, 0, 64, 32))  # above
    path = tmp_path / "photo.jpg"
    pillow_heif.from_pillow(upright).save(path, quality=95)
    pixels = read_image(path, RULE.replace(image_size=(64, 64))).astype(int)
    np.testing.assert_allclose(pixels[:28], np.broadcast_to((255, 0, 0), (28, 64, 3)), atol=8)
    np.testing.assert_allclose(pixels[36:], np.broadcast_to((0, 0, 255), (28, 64, 3)), atol=8)
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(path, "HEIF", quality=95, exif=pictures.tagged(6).tobytes())
    np.testing.assert_allclose(read_image(path, RULE.replace(image_size=(64, 64))).astype(int), pixels, atol=10)


def test_without_pillow_heif_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    signatures.can_read_heif.cache_clear()
    try:
        (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x20ftypheic\0\0\0\0mif1heic" + bytes(50))
        with pytest.raises(DataError, match=r"photo\.jpg: .*HEIC; install pillow-heif .*vit-keras-zoo\[heic\]"):
            read_image(tmp_path / "photo.jpg", RULE)
        assert "HEIC; install pillow-heif" in (signatures.inspect_start(str(tmp_path / "photo.jpg")) or "")
    finally:
        signatures.can_read_heif.cache_clear()


@pytest.mark.parametrize(("major", "others", "kind"), [
    (b"avif", b"mif1", "AVIF"), (b"mif1", b"avifmiaf", "AVIF"), (b"heic", b"mif1", "HEIF"), (b"mif1", b"heic", "HEIF"),
    (b"isom", b"mp41", None), (b"crx ", b"isom", None),
])  # fmt: skip
def test_the_brands_tell_avif_heic_and_video(major, others, kind):
    start = struct.pack(">I", 16 + len(others)) + b"ftyp" + major + bytes(4) + others + bytes(40)
    assert signatures.detect_format(start) == kind


def test_big_tiff_and_cmyk_tiff_are_read(tmp_path):
    big = saved(tmp_path, Image.fromarray(COLORS), "TIFF", big_tiff=True)
    np.testing.assert_array_equal(read_image(big, RULE), COLORS)
    cmyk = Image.merge("CMYK", [Image.fromarray(RNG.integers(0, 256, (SIDE, SIDE)).astype("uint8")) for _ in range(4)])
    ink = np.asarray(cmyk).astype(float) / 255
    by_hand = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    np.testing.assert_allclose(read_image(saved(tmp_path, cmyk, "TIFF"), RULE), by_hand, atol=2)


def test_the_first_page_of_a_tiff_is_read_and_the_check_says_so(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    pages = [Image.fromarray(COLORS), Image.new("RGB", (SIDE, SIDE), "blue")]
    path = saved(root / "cat", pages[0], "TIFF", name="scan.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_image(path, RULE), COLORS)
    assert check(root).manifest.notes["several pages, of which the first is used"] == 1


@pytest.mark.parametrize(("pixel_range", "values"), [
    ((0, 1), RNG.random((SIDE, SIDE))), ((-1, 1), RNG.uniform(-1, 1, (SIDE, SIDE))), ((-1000, 400), RNG.normal(0, 100, (SIDE, SIDE))),
])  # fmt: skip
def test_a_float_tiff_is_scaled_by_the_stated_range(tmp_path, pixel_range, values):
    path = saved(tmp_path, Image.fromarray(values.astype("float32")), "TIFF")
    low, high = pixel_range
    expected = np.clip(np.round((values.astype("float32") - low) / (high - low) * 255), 0, 255)
    found = read_image(path, GRAY_RULE.replace(pixel_range=pixel_range))
    np.testing.assert_allclose(found[..., 0], expected, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_12_bits_in_16_are_scaled_by_the_stated_range(tmp_path, kind):
    values = RNG.integers(0, 4096, (SIDE, SIDE)).astype("uint16")
    found = read_image(saved(tmp_path, Image.fromarray(values), kind), GRAY_RULE.replace(pixel_range=(0, 4095)))
    np.testing.assert_array_equal(found[..., 0], np.round(values / 4095 * 255))


@pytest.mark.parametrize(("values", "pixel_range", "message"), [
    (np.full((SIDE, SIDE), 900.0), (0, 1), r"range from 900 to 900, which does not fit pixel_range=\(0, 1\)"),
    (np.full((SIDE, SIDE), np.nan), (0, 1), "NaN or infinite"),
    (np.full((SIDE, SIDE), 0.5), None, r"unknown range .*pixel_range=\(0, 1\)"),
])  # fmt: skip
def test_floats_that_do_not_fit_are_an_error(tmp_path, values, pixel_range, message):
    path = saved(tmp_path, Image.fromarray(values.astype("float32")), "TIFF")
    with pytest.raises(DataError, match=message):
        read_image(path, RULE.replace(pixel_range=pixel_range))


def test_a_folder_of_float_tiffs_is_loaded_with_the_stated_range(tmp_path):
    stored = {}
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(4):
            stored[f"{name}/{number}.tif"] = RNG.random((SIDE, SIDE)).astype("float32")
            Image.fromarray(stored[f"{name}/{number}.tif"]).save(tmp_path / name / f"{number}.tif")
    with pytest.raises(DataError, match=r"floating-point pixels of unknown range.*pixel_range=\(0, 1\)"):
        load(tmp_path, image_size=SIDE)
    data = load(tmp_path, image_size=SIDE, channels=1, pixel_range=(0, 1))
    split = data.splits["train"]
    for index in range(len(split)):
        values = stored[split.files.name(index).removeprefix(f"{tmp_path}/")]
        np.testing.assert_array_equal(split.image(index)[..., 0], np.round(values.astype("float64") * 255))
    assert data.fingerprint != load(tmp_path, image_size=SIDE, channels=1, pixel_range=(0, 2)).fingerprint


@pytest.mark.parametrize(("content", "message"), [
    (tiff(5), "a TIFF with 5 channels of 8 bits"), (tiff(5, order=">"), "a TIFF with 5 channels of 8 bits"),
    (tiff(13, "uint16"), "a TIFF with 13 channels of 16 bits"),
    (tiff(2, "float32", sample_format=3), "a TIFF with 2 channels of floating-point numbers of 32 bits"),
    (b"II*\0" + bytes(20), "a TIFF whose layout is not supported"),
])  # fmt: skip
def test_a_tiff_with_other_channels_is_named_for_what_it_is(content, message):
    with pytest.raises(DataError, match=message + "; save gray or RGB"):
        Picture(content, "slide.tif")


def test_camera_raw_is_refused_in_spite_of_its_preview(tmp_path):
    path = saved(tmp_path, Image.fromarray(COLORS), "TIFF", name="photo.NEF")
    with pytest.raises(DataError, match="camera raw, which has only a small preview"):
        read_image(path, RULE)


def test_files_that_are_no_images_are_named_in_the_check(make_folder):
    root = make_folder({"cat": 8, "dog": 8})
    for name, content in (
        ("a.dcm", bytes(128) + b"DICM"),
        ("b.jxl", b"\xff\x0a123"),
        ("c.svg", b"<svg xmlns='x'/>"),
        ("d.png", bytes(500)),
    ):
        (root / "cat" / name).write_bytes(content)
    manifest = check(root, reading=ReadOptions(max_error_rate=1.0)).manifest
    reasons = {item.path.removeprefix("cat/"): item.reason for item in manifest.quarantined}
    for name, words in (("a.dcm", "DICOM"), ("b.jxl", "JPEG XL"), ("c.svg", "SVG"), ("d.png", "no image data")):
        assert words in reasons[name]


def test_a_range_travels_with_the_preprocessing():
    rule = RULE.replace(pixel_range=(0, 4095))
    assert Preprocessing.from_dict(rule.to_dict()) == rule
    assert "pixel_range" not in RULE.to_dict()
    with pytest.raises(InvalidArgumentError, match="pixel_range"):
        RULE.replace(pixel_range=(1, 0))


def test_a_png_of_16_bits_with_transparency_is_put_on_white(tmp_path):
    row = b"\0" + struct.pack(">4H", 65535, 0, 0, 32768) * SIDE  # half transparent red
    header = pictures.chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0))
    body = pictures.chunk(b"IDAT", zlib.compress(row * SIDE)) + pictures.chunk(b"IEND", b"")
    image = Picture(b"\x89PNG\r\n\x1a\n" + header + body, "a.png").decode()
    np.testing.assert_allclose(np.asarray(image), np.broadcast_to((255, 127, 127), (SIDE, SIDE, 3)), atol=1)


def test_formats_are_those_that_pillow_opens():
    for kind in ("AVIF", "TIFF", "GIF"):
        file = io.BytesIO()
        Image.fromarray(COLORS).save(file, kind)
        assert signatures.detect_format(file.getvalue()[: signatures.START]) == Image.open(file).format == kind
