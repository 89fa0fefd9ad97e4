"""Image files are recognized by their content, whatever their names; what is left out is counted by reason."""

import io
import os

import numpy as np
import pytest
from data import pictures
from PIL import Image

from vit_keras.data import ReadOptions, check, load
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.signatures import detect_format
from vit_keras.data.scan.listing import list_folder
from vit_keras.errors import DataError
from vit_keras.evaluation.images import list_images

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype("uint8")
NAMES = {
    "a.jfif": "JPEG", "b.jpe": "JPEG", "c.JPG": "JPEG", "d": "JPEG", "e.ppm": "PPM", "f.PGM": "PPM", "g.tif": "TIFF",
    "h.TIFF": "TIFF", "i.dib": "BMP", "j": "PNG", "k.image": "WEBP", "l.jpg_large": "JPEG", "m.heic": "JPEG", "n.7": "GIF",
}  # fmt: skip


def encoded(kind, pixels=PIXELS, **options):
    return pictures.encoded(Image.fromarray(pixels), kind, **options)


@pytest.fixture
def root(tmp_path):
    """A folder of two classes of three PNG images each."""
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "root" / name / f"{index}.png").write_bytes(encoded("PNG", PIXELS[index:]))
    return tmp_path / "root"


def test_images_with_any_name_are_read(root):
    for name, kind in NAMES.items():
        gray = PIXELS[..., 0] if name.lower().endswith("pgm") else PIXELS
        (root / "cat" / name).write_bytes(encoded(kind, gray))
    listing = list_folder(root)
    assert {path.removeprefix("cat/") for path in listing.paths} >= set(NAMES)
    assert (listing.ignored, listing.rejected) == ({}, ())
    data = load(root, image_size=8)
    assert sum(data.sizes.values()) == 6 + len(NAMES)
    assert (data.notes, data.decisions) == ((), ())
    kinds = check(root).to_dict()["formats"]
    assert kinds == {"PNG": 7, "JPEG": 6, "PPM": 2, "TIFF": 2, "BMP": 1, "WEBP": 1, "GIF": 1}


def test_the_first_bytes_give_the_format_that_pillow_finds():
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF"):
        for pixels in (PIXELS, PIXELS[..., 0]):
            content = encoded(kind, pixels)
            assert detect_format(content[:512]) == Image.open(io.BytesIO(content)).format == kind


@pytest.mark.parametrize(
    ("compression", "orientation"), [(None, 1), ("tiff_lzw", 3), ("tiff_adobe_deflate", 6), ("packbits", 8)]
)
def test_a_tiff_is_read_upright_like_a_png_with_the_same_tag(compression, orientation):
    tiff, png = (
        Picture(encoded(kind, exif=pictures.tagged(orientation), **options), kind)
        for kind, options in (("TIFF", {"compression": compression}), ("PNG", {}))
    )
    assert tiff.size == png.size
    np.testing.assert_array_equal(np.asarray(tiff.decode()), np.asarray(png.decode()))


def test_16_bits_are_converted_to_8():
    deep = (np.arange(480).reshape(24, 20) * 136).astype("uint16")
    for kind in ("TIFF", "PPM", "PNG"):
        found = np.asarray(Picture(encoded(kind, deep), kind).decode(channels=1))
        np.testing.assert_array_equal(found, np.round(deep / 257))


def test_16_bit_images_that_use_few_bits_are_reported(root):
    for name in ("cat", "dog"):
        for index in range(3):
            (root / name / f"{index}.png").write_bytes(encoded("PNG", (PIXELS[index:, :, 0].astype("uint16") * 16)))
    (decision,) = load(root, image_size=8).decisions
    assert decision.startswith("nearly black images with 16 bits per channel: all 6.")
    assert "nearly black" in {finding.kind for finding in check(root).findings}


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (PIXELS[..., 0].astype("float32") / 255, "floating-point pixels of unknown range"),
        (PIXELS[..., 0].astype("int32") * 1000, "not 16 bits; convert it to 8 bits"),
        (PIXELS[..., 0].astype("int32") - 300, "pixels range from -299 to"),
    ],
)
def test_a_tiff_of_unknown_range_is_an_error(pixels, message):
    with pytest.raises(DataError, match=message):
        Picture(encoded("TIFF", pixels), "deep.tif").decode()


def test_a_phone_s_jpeg_with_several_images_is_a_jpeg(root):
    content = encoded("MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1].copy())])
    (root / "cat" / "photo.jpg").write_bytes(content)
    checkup = check(root)
    assert not checkup.manifest.quarantined
    assert checkup.to_dict()["formats"] == {"PNG": 6, "JPEG": 1}


def test_what_is_left_out_is_counted_by_reason(root, monkeypatch):
    monkeypatch.setattr("vit_keras.data.images.signatures.can_read_heif", lambda: False)
    files = {
        "cat/notes.txt": b"a cat", "dog/notes.txt": b"a dog", "cat/list": b"0 1 2", "cat/a.jpg": encoded("JPEG")[:400],
        "cat/photo": b"\0\0\0\x18ftypheic\0\0\0\0", "cat/b.dng": encoded("TIFF"), "cat/page.html": b"<html>", "dog/P5.md": b"P5 is one",
        "dog/.hidden": b"x", "dog/BM": b"BM is not a bitmap here",
    }  # fmt: skip
    for name, content in files.items():
        (root / name).write_bytes(content)
    os.symlink(root / "cat" / "0.png", root / "dog" / "link.png")
    lenient = ReadOptions(max_error_rate=1.0)
    data = load(root, image_size=8, reading=lenient)
    (decision,) = data.decisions
    assert decision.startswith("left out: ")
    assert set(decision.removeprefix("left out: ").split("; ")) == {
        "2 unsupported format", "1 truncated or damaged", "2 not an image (.txt)", "2 not an image (no suffix)",
        "1 not an image (.html)", "1 not an image (.md)", "1 a symbolic link, not followed",
    }  # fmt: skip
    reasons = dict(note.rsplit("/", 1)[1].split(": ", 1) for note in data.notes)
    assert (
        reasons["photo"]
        == "unsupported format: HEIC; install pillow-heif to read it (pip install 'vit-keras-zoo[heic]'), or convert it to PNG or JPEG"
    )
    assert reasons["b.dng"] == "unsupported format: camera raw; develop it, and save PNG or JPEG"
    found = {finding.kind: finding.text for finding in check(root, reading=lenient).findings}
    assert "2 unsupported format; 1 truncated or damaged" in found["quarantined"]


def test_explain_finds_the_same_images_in_a_folder(root):
    (root / "cat" / "0.png").rename(root / "cat" / "zero")
    (root / "cat" / "notes.txt").write_text("a cat")
    (root / "dog" / "x.jfif").write_bytes(encoded("JPEG"))
    expected = ["1.png", "2.png", "zero", "0.png", "1.png", "2.png", "x.jfif"]
    assert [image.content.name for image in list_images(root)] == expected
