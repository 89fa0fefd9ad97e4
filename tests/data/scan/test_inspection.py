import hashlib
import json
import os
import sys
import zlib
from unittest.mock import Mock

import hypothesis
import imagehash
import numpy as np
import pytest
from data.pictures import chunk, encoded, png, tagged
from hypothesis import strategies
from PIL import Image
from sklearn.datasets import load_sample_images

from vit_keras.data.scan.inspection import Limits, inspect


def noise(size=(48, 32), mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype("uint8")
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def look(tmp_path):
    """Returns a function that inspects a file with this content."""

    def row(content, name="a.png", **limits):
        (tmp_path / name).write_bytes(content)
        found = inspect(tmp_path / name, Limits(**limits))
        assert json.loads(json.dumps(found)) == found
        return found

    return row


def test_a_good_file_is_described(look, tmp_path):
    picture = noise((64, 40))
    content = encoded(picture)
    row = look(content)
    luma = np.asarray(picture.convert("L"), dtype="float64")
    counts = np.bincount(luma.astype(int).ravel()) / luma.size
    shadow, highlight = np.percentile(luma, [5, 99])
    numbers = {"brightness": luma.mean(), "contrast": luma.std(), "shadow": shadow, "highlight": highlight}
    expected = {
        "size": len(content), "mtime_ns": (tmp_path / "a.png").stat().st_mtime_ns, "sha256": hashlib.sha256(content).hexdigest(),
        "format": "PNG", "mode": "RGB", "width": 64, "height": 40, "orientation": 1, "phash": str(imagehash.phash(picture)), "notes": [],
        "entropy": pytest.approx(-(counts[counts > 0] * np.log2(counts[counts > 0])).sum(), abs=0.001),
    } | {name: pytest.approx(value, abs=0.01) for name, value in numbers.items()}  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert "reason" not in row
    flat = look(encoded(Image.new("RGB", (30, 30), "red")))
    assert (flat["contrast"], str(flat["entropy"])) == (0, "0.0")


def test_the_hash_hardly_changes_with_size_and_compression(look):
    photo, other = (Image.fromarray(photo) for photo in load_sample_images().images)
    smaller = encoded(photo.resize((300, 200)), "JPEG", quality=60)
    hashes = [int(look(content)["phash"], 16) for content in (encoded(photo), smaller, encoded(other))]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 2
    assert (hashes[0] ^ hashes[2]).bit_count() > 10


def test_an_unusable_file_has_a_reason_without_its_name(look):
    content = encoded(noise(), "GIF")
    assert "sha256" in look(content[:-2])  # all pixels are there; only the end mark is cut off
    assert look(content[: len(content) // 2])["reason"].startswith("truncated or damaged")
    row = look(b"hello", "a: b\n.png")
    assert row["reason"].startswith("not a supported image (its first bytes are of no image format)")
    assert row["size"] == 5


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_chunk_that_unpacks_to_much_is_refused_or_passed_over(look, name):
    packed = zlib.compress(bytes(80_000_000))
    content = {b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0\0\0", b"iCCP": b"key\0\0"}[name] + packed
    row = look(png(16, 16, chunk(name, content), body=(b"\0" + bytes(48)) * 16))
    assert ("reason" in row) != ("sha256" in row)


@pytest.mark.parametrize(
    ("size", "limits", "reason"),
    [
        ((7, 30), {}, "7x30 px; the shorter side must have at least 8 px (min_side)"),
        ((10, 201), {}, "10x201 px; the longer side may be at most 20 times the shorter (max_aspect)"),
        ((31, 40), {"min_side": 32}, "at least 32 px"),
        ((10, 31), {"max_aspect": 3.0}, "3 times"),
        ((8, 8), {}, None),
        ((10, 200), {}, None),
    ],
)
def test_limits_are_inclusive(look, size, limits, reason):
    row = look(encoded(noise(size)), **limits)
    assert row["width"] == size[0] if reason is None else reason in row["reason"]


WHITE = ["transparent, put on white"]


FRAMES = [Image.new("RGB", (20, 20), color) for color in ("white", "black")]


@pytest.mark.parametrize(
    ("mode", "content", "name", "notes", "brightness"),
    [
        ("L", encoded(noise(mode="L")), "a.png", [], None),
        ("P", encoded(noise(mode="P")), "a.png", [], None),
        ("RGB", encoded(noise(), "JPEG"), "a.JPEG", [], None),
        ("RGB", encoded(noise()), "a.jpg", ["PNG with the file name suffix of another format"], None),
        ("CMYK", encoded(noise(mode="CMYK"), "JPEG"), "a.jpg", ["CMYK, converted to RGB"], None),
        ("LA", encoded(noise(mode="LA")), "a.png", WHITE, None),
        ("RGBA", encoded(noise(mode="RGBA")), "a.png", WHITE, None),
        ("P", encoded(Image.new("P", (20, 20)), transparency=0), "a.png", WHITE, 255),
        ("I;16", encoded(Image.fromarray(np.full((20, 20), 32768, "uint16"))), "a.png", ["16 bits per channel, converted to 8"], 127.5),
        ("P", encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "a.gif", ["animation, of which the first frame is used"], 255),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_conversion_is_noted(look, mode, content, name, notes, brightness):
    row = look(content, name)
    assert (row["mode"], row["notes"]) == (mode, notes)
    assert brightness is None or row["brightness"] == pytest.approx(brightness, abs=1)


@pytest.mark.parametrize("orientation", [1, 2, 6])
def test_the_size_is_that_of_the_upright_image(look, orientation):
    row = look(encoded(noise((40, 30)), "JPEG", exif=tagged(orientation)), "a.jpg")
    assert (row["width"], row["height"]) == ((40, 30) if orientation < 5 else (30, 40))
    assert row["orientation"] == orientation
    assert row["notes"] == ([] if orientation == 1 else ["rotated upright (Exif)"])


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are of POSIX")
def test_a_file_that_cannot_be_read_has_a_reason(tmp_path, monkeypatch):
    def reason(name):
        return inspect(tmp_path / name, Limits())["reason"]

    assert "no such file" in reason("gone.png").lower()
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a file" in reason("pipe.png")
    (tmp_path / "a.png").write_bytes(encoded(noise()))
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", Mock(side_effect=MemoryError))
        assert "not enough memory" in reason("a.png")
    monkeypatch.setattr("os.open", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert reason("a.png") == "permission denied."


GOOD = [
    encoded(noise((24, 18), mode), kind)
    for mode, kind in [
        ("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGB", "WEBP"), ("RGB", "BMP"), ("L", "PPM"),
    ]
] + [encoded(noise((24, 18)), "TIFF", compression="tiff_lzw")]  # fmt: skip
EXIF = tagged(6)
EXIF[0x010E] = "a photo"
GOOD += [encoded(noise((24, 18)), kind, exif=EXIF) for kind in ("JPEG", "PNG", "WEBP")]


@strategies.composite
def mutated(draw):
    """An image file with a few bytes changed, cut off, doubled or inserted."""
    content = bytearray(draw(strategies.sampled_from(GOOD)))
    for _ in range(draw(strategies.integers(1, 6))):
        place = draw(strategies.integers(0, min(len(content), draw(strategies.sampled_from([64, 400, 10_000])))))
        action = draw(strategies.sampled_from(["change", "cut", "put in", "drop", "double"]))
        if action == "change":
            content[place : place + 1] = bytes([draw(strategies.integers(0, 255))])
        elif action == "cut":
            del content[place:]
        elif action == "put in":
            content[place:place] = draw(strategies.binary(max_size=8))
        elif action == "drop":
            del content[place : place + draw(strategies.integers(1, 40))]
        else:
            content[place:place] = content[place : place + 40]
    return bytes(content)


@hypothesis.settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(content=mutated())
def test_a_damaged_file_gives_a_row_or_a_reason_and_nothing_else(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    row = inspect(tmp_path / "a.jpg", Limits())
    assert ("reason" in row) != ("sha256" in row)
    assert row.get("reason", "x")
    json.dumps(row)
