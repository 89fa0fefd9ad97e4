"""Image files are known by what is in them, whatever they are called; what is left out is said by reason and count."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import ReadOptions, check, load
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.signatures import detect_format
from vit_keras.data.scan.listing import list_folder
from vit_keras.errors import DataError, VitKerasError
from vit_keras.evaluation.images import list_images

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype("uint8")
NAMES = {
    "a.jfif": "JPEG", "b.jpe": "JPEG", "c.JPG": "JPEG", "d": "JPEG", "e.ppm": "PPM", "f.PGM": "PPM", "g.tif": "TIFF",
    "h.TIFF": "TIFF", "i.dib": "BMP", "j": "PNG", "k.image": "WEBP", "l.jpg_large": "JPEG", "m.heic": "JPEG", "n.7": "GIF",
}  # fmt: skip


def encoded(kind, pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def root(tmp_path):
    """A folder of two classes of three PNG images each."""
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "root" / name / f"{index}.png").write_bytes(encoded("PNG", PIXELS[index:]))
    return tmp_path / "root"


def test_images_of_any_name_are_read(root):
    for name, kind in NAMES.items():
        grey = PIXELS[..., 0] if name.lower().endswith("pgm") else PIXELS
        (root / "cat" / name).write_bytes(encoded(kind, grey))
    listing = list_folder(root)
    assert {path.removeprefix("cat/") for path in listing.paths} >= set(NAMES)
    assert (listing.ignored, listing.rejected) == ({}, ())
    data = load(root, image_size=8)
    assert sum(data.sizes.values()) == 6 + len(NAMES)
    assert (data.notes, data.decisions) == ((), ())
    kinds = check(root).to_dict()["formats"]
    assert kinds == {"PNG": 7, "JPEG": 6, "PPM": 2, "TIFF": 2, "BMP": 1, "WEBP": 1, "GIF": 1}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF"])
def test_the_first_bytes_tell_the_format_that_pillow_finds(kind):
    for pixels in (PIXELS, PIXELS[..., 0]):
        content = encoded(kind, pixels)
        assert detect_format(content[:512]) == Image.open(io.BytesIO(content)).format == kind


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_tiff_is_read_upright_as_a_png_of_the_same_tag_is(compression, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    tiff, png = (
        Picture(encoded(kind, exif=exif, **options), kind)
        for kind, options in (("TIFF", {"compression": compression}), ("PNG", {}))
    )
    assert tiff.size == png.size
    np.testing.assert_array_equal(np.asarray(tiff.decode()), np.asarray(png.decode()))


def test_pixels_of_16_bits_are_brought_to_8():
    deep = (np.arange(480).reshape(24, 20) * 136).astype("uint16")
    for kind in ("TIFF", "PPM", "PNG"):
        found = np.asarray(Picture(encoded(kind, deep), kind).decode(channels=1))
        np.testing.assert_array_equal(found, np.round(deep / 257))


def test_16_bit_images_that_use_few_bits_are_said_to_be_nearly_black(root):
    for name in ("cat", "dog"):
        for index in range(3):
            (root / name / f"{index}.png").write_bytes(encoded("PNG", (PIXELS[index:, :, 0].astype("uint16") * 16)))
    (decision,) = load(root, image_size=8).decisions
    assert decision.startswith("images of 16 bits a channel that are nearly black: all 6.")
    assert "nearly black" in {finding.kind for finding in check(root).findings}


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (PIXELS[..., 0].astype("float32") / 255, "floating-point numbers, whose range it does not say"),
        (PIXELS[..., 0].astype("int32") * 1000, "more than 16 bits; convert it to 8 bits"),
        (PIXELS[..., 0].astype("int32") - 300, "pixels run from -299 to"),
    ],
)
def test_a_tiff_whose_range_is_not_known_is_refused(pixels, told):
    with pytest.raises(DataError, match=told):
        Picture(encoded("TIFF", pixels), "deep.tif").decode()


def test_a_telephones_jpeg_with_more_images_behind_the_first_is_a_jpeg(root):
    content = encoded("MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1].copy())])
    (root / "cat" / "photo.jpg").write_bytes(content)
    checkup = check(root)
    assert not checkup.manifest.quarantined
    assert checkup.to_dict()["formats"] == {"PNG": 6, "JPEG": 1}


def test_what_is_left_out_is_listed_by_reason_and_count(root):
    files = {
        "cat/notes.txt": b"a cat", "dog/notes.txt": b"a dog", "cat/list": b"0 1 2", "cat/a.jpg": encoded("JPEG")[:400],
        "cat/photo": b"\0\0\0\x18ftypheic\0\0\0\0", "cat/b.dng": encoded("TIFF"), "cat/page.html": b"<html>", "dog/P5.md": b"P5 is one",
        "dog/.hidden": b"x", "dog/BM": b"BM is not a bitmap here",
    }  # fmt: skip
    for name, content in files.items():
        (root / name).write_bytes(content)
    os.symlink(root / "cat" / "0.png", root / "dog" / "link.png")
    data = load(root, image_size=8, reading=ReadOptions(max_error_rate=1.0))
    (decision,) = data.decisions
    assert decision.startswith("left out: ")
    assert set(decision.removeprefix("left out: ").split("; ")) == {
        "2 unsupported format", "1 truncated or damaged", "2 no image (.txt)", "2 no image (without ending)", "1 no image (.html)",
        "1 no image (.md)", "1 a symbolic link, not followed",
    }  # fmt: skip
    reasons = dict(note.rsplit("/", 1)[1].split(": ", 1) for note in data.notes)
    assert reasons["photo"] == "unsupported format: HEIC is not read; convert it to PNG or JPEG"
    assert reasons["b.dng"].startswith("unsupported format: a camera's own .dng is not read")
    left_out = next(
        finding
        for finding in check(root, reading=ReadOptions(max_error_rate=1.0)).findings
        if finding.kind == "quarantined"
    )
    assert "2 unsupported format; 1 truncated or damaged" in left_out.text


def test_explain_finds_the_same_images_in_a_folder(root):
    (root / "cat" / "0.png").rename(root / "cat" / "zero")
    (root / "cat" / "notes.txt").write_text("a cat")
    (root / "dog" / "x.jfif").write_bytes(encoded("JPEG"))
    assert [image.content.name for image in list_images(root)] == [
        "1.png",
        "2.png",
        "zero",
        "0.png",
        "1.png",
        "2.png",
        "x.jfif",
    ]


@pytest.mark.parametrize("kind", ["PPM", "TIFF"])
def test_no_damage_of_a_file_is_an_error_of_another_kind(kind):
    whole, rng = encoded(kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {})), np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        content = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for place in rng.integers(0, min(len(content), 400), 4):
            content[place] = rng.integers(0, 256)
        try:
            Picture(bytes(content), "damaged").decode()
        except VitKerasError:
            refused += 1
    assert refused > 100
