import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib

import hypothesis
import imagehash
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image
from sklearn.datasets import load_sample_images

from vit_keras.data.scan.inspection import Limits, inspect


def noise(size=(48, 32), mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype("uint8")
    return Image.fromarray(pixels).convert(mode)


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, *extra, color=2, body=b""):
    """A PNG with any header."""
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    )


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
    status = (tmp_path / "a.png").stat()
    assert (row["size"], row["mtime_ns"]) == (len(content), status.st_mtime_ns)
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert (row["format"], row["mode"], row["width"], row["height"], row["orientation"]) == ("PNG", "RGB", 64, 40, 1)
    luma = np.asarray(picture.convert("L"), dtype="float64")
    assert row["brightness"] == pytest.approx(luma.mean(), abs=0.01)
    assert row["contrast"] == pytest.approx(luma.std(), abs=0.01)
    assert [row["shadow"], row["highlight"]] == pytest.approx(np.percentile(luma, [5, 99]), abs=0.01)
    counts = np.bincount(luma.astype(int).ravel()) / luma.size
    assert row["entropy"] == pytest.approx(-(counts[counts > 0] * np.log2(counts[counts > 0])).sum(), abs=0.001)
    assert row["phash"] == str(imagehash.phash(picture))
    assert row["notes"] == []
    assert "reason" not in row


def test_one_color_has_no_information(look):
    row = look(encoded(Image.new("RGB", (30, 30), "red")))
    assert (row["contrast"], str(row["entropy"])) == (0, "0.0")


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
    for name in ("été 猫 😀.png", "n\new.png", "a: b.png"):
        row = look(b"hello", name)
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
        ((1, 5), {"min_side": 1}, None),
        ((9, 900), {"max_aspect": 100.0}, None),
    ],
)
def test_limits_are_inclusive(look, size, limits, reason):
    row = look(encoded(noise(size)), **limits)
    assert row["width"] == size[0] if reason is None else reason in row["reason"]


WHITE = ["transparent, put on white"]


@pytest.mark.parametrize(
    ("mode", "kind", "notes"),
    [
        ("L", "PNG", []),
        ("P", "PNG", []),
        ("CMYK", "JPEG", ["CMYK, converted to RGB"]),
        ("LA", "PNG", WHITE),
        ("RGBA", "PNG", WHITE),
        ("I;16", "PNG", ["16 bits per channel, converted to 8"]),
    ],
)
def test_the_conversion_of_every_mode_is_noted(look, mode, kind, notes):
    picture = Image.fromarray(np.full((20, 20), 32768, "uint16")) if mode == "I;16" else noise((20, 20), mode)
    row = look(encoded(picture, kind), f"a.{kind.lower()}")
    assert (row["mode"], row["notes"]) == (mode, notes)
    if mode == "I;16":
        assert row["brightness"] == pytest.approx(127.5, abs=1)


def test_a_transparent_palette_is_put_on_white(look):
    row = look(encoded(Image.new("P", (20, 20)), transparency=0))
    assert (row["notes"], row["brightness"]) == (WHITE, 255)


@pytest.mark.parametrize("orientation", [1, 2, 6])
def test_the_size_is_that_of_the_upright_image(look, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    row = look(encoded(noise((40, 30)), "JPEG", exif=exif), "a.jpg")
    assert (row["width"], row["height"]) == ((40, 30) if orientation < 5 else (30, 40))
    assert row["orientation"] == orientation
    assert row["notes"] == ([] if orientation == 1 else ["rotated upright (Exif)"])


def test_an_animation_is_its_first_frame(look):
    frames = [Image.new("RGB", (20, 20), color) for color in ("white", "black")]
    row = look(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "a.gif")
    assert row["notes"] == ["animation, of which the first frame is used"]
    assert row["brightness"] == 255


@pytest.mark.parametrize(("kind", "name", "noted"), [("PNG", "a.jpg", True), ("JPEG", "a.JPEG", False)])
def test_a_misleading_name_is_noted(look, kind, name, noted):
    notes = look(encoded(noise(), kind), name)["notes"]
    assert notes == ([f"{kind} with the file name suffix of another format"] if noted else [])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not text")
def test_a_name_that_is_not_text_is_inspected(look):
    assert look(encoded(noise()), os.fsdecode(b"caf\xe9.png"))["width"] == 48


def test_a_file_that_is_gone_or_locked_has_a_reason(tmp_path, monkeypatch):
    assert "no such file" in inspect(tmp_path / "gone.png", Limits())["reason"].lower()
    path = tmp_path / "a.png"
    path.write_bytes(encoded(noise()))

    def refused(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refused)
    assert inspect(path, Limits())["reason"] == "permission denied."


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are of POSIX")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a file" in inspect(tmp_path / "pipe.png", Limits())["reason"]


def test_too_little_memory_is_a_reason(look, monkeypatch):
    def full(*arguments):
        raise MemoryError

    content = encoded(noise())
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    assert "not enough memory" in look(content)["reason"]


GOOD = [
    encoded(noise((24, 18), mode), kind)
    for mode, kind in [
        ("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGB", "WEBP"), ("RGB", "BMP"), ("L", "PPM"),
    ]
] + [encoded(noise((24, 18)), "TIFF", compression="tiff_lzw")]  # fmt: skip
EXIF = Image.Exif()
EXIF[0x0112] = 6
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


def test_looking_at_images_needs_neither_keras_nor_tensorflow():
    code = "import sys, vit_keras.data.scan.worker; print(sorted({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
