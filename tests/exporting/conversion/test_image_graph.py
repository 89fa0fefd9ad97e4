"""JPEG and PNG files become the same pixels in a TensorFlow graph as in `Picture`, whose pixels are checked against timm's."""

import io
import struct
import zlib

import keras
import numpy as np
import pytest
from photos import RULES, photos, upright_on_white
from PIL import Image

from vit_keras.data import Preprocessing
from vit_keras.data.images.decode import Picture

if keras.backend.backend() != "tensorflow":
    pytest.skip("the graphs are made in a TensorFlow process", allow_module_level=True)

import tensorflow as tf

from vit_keras.exporting.conversion.image_graph import decode_file, preprocess_file

FILES = {name: content for name, content in photos().items() if name.startswith(("jpeg", "png"))}
SIZES = {"center": (48, 48), "squash": (40, 56), "border": (48, 40)}


@pytest.fixture(scope="module")
def decode():
    """Returns the pixels of a file that can be read."""
    run = tf.function(decode_file, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)

    def decode(content):
        pixels, problem = run(content)
        assert problem.numpy() == b""
        return pixels

    return decode


def prepare(content, rule):
    return preprocess_file(tf.constant(content), rule)[0].numpy()


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_decoded_as_a_person_sees_it(decode, name):
    np.testing.assert_array_equal(decode(FILES[name]).numpy(), np.asarray(upright_on_white(FILES[name])))


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("options", [{}, {"transparency": 1}])
def test_a_palette_of_few_colors_is_decoded(decode, bits, options):
    image = Image.fromarray(np.arange(64, dtype="uint8").reshape(8, 8) % 2**bits, "P")
    image.putpalette(np.random.default_rng(3).integers(0, 256, 3 * 2**bits).tolist())
    file = io.BytesIO()
    image.save(file, "PNG", bits=bits, **options)
    assert file.getvalue()[24] == bits
    expected = np.asarray(Picture(file.getvalue(), "palette").decode())
    np.testing.assert_array_equal(decode(file.getvalue()).numpy(), expected)


CASES = [(name, rule) for at, name in enumerate(FILES) for rule in [list(RULES)[at % len(RULES)]]]
ALL = [(name, rule) for name in FILES for rule in RULES]


@pytest.mark.parametrize(
    ("name", "rule"), [pytest.param(*each, marks=[] if each in CASES else pytest.mark.slow) for each in ALL]
)
def test_every_rule_gives_the_pixels_of_predict(name, rule):
    rule = Preprocessing(**RULES[rule])
    np.testing.assert_array_equal(prepare(FILES[name], rule), Picture(FILES[name], name).preprocess(rule))


@pytest.mark.parametrize("crop", [1.0, 0.83])
@pytest.mark.parametrize("interpolation", ["nearest", "bicubic"])
@pytest.mark.parametrize("crop_mode", SIZES)
def test_every_crop_of_gray_models_too(crop_mode, interpolation, crop):
    rule = Preprocessing(
        image_size=SIZES[crop_mode], channels=1, crop=crop, crop_mode=crop_mode, interpolation=interpolation
    )
    for name in ("jpeg", "jpeg_small"):
        np.testing.assert_array_equal(prepare(FILES[name], rule), Picture(FILES[name], name).preprocess(rule))


def test_an_image_of_the_right_size_is_not_changed():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 24, 3), "uint8")
    found = prepare(encode(pixels, "PNG"), Preprocessing(image_size=(32, 24)))
    np.testing.assert_array_equal(found, pixels)


def encode(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def exif_of(orientation, *, little=True, as_long=False):
    """A TIFF structure with another tag before the orientation and one behind it."""
    order = "<" if little else ">"
    value = struct.pack(order + "I", orientation) if as_long else struct.pack(order + "HH", orientation, 0)
    entries = [
        struct.pack(order + "HHI", 0x0100, 4, 1) + struct.pack(order + "I", 7),
        struct.pack(order + "HHI", 0x0112, 4 if as_long else 3, 1) + value,
        struct.pack(order + "HHI", 0x0128, 3, 1) + struct.pack(order + "HH", 2, 0),
    ]
    start = b"II*\0" if little else b"MM\0*"
    return start + struct.pack(order + "IH", 8, len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_upright_and_illegal_ones_are_ignored(decode, kind, orientation):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 16, 3), "uint8")
    for little in (True, False):
        content = encode(pixels, kind, exif=b"Exif\0\0" + exif_of(orientation, little=little))
        expected = np.asarray(upright_on_white(content))
        np.testing.assert_array_equal(decode(content).numpy(), expected)
    assert expected.shape == ((16, 8, 3) if 5 <= orientation <= 8 else (8, 16, 3))


def test_an_orientation_stored_as_a_long_number_behind_the_pixels_of_a_png(decode):
    pixels = np.arange(8 * 4 * 3, dtype="uint8").reshape(8, 4, 3)
    content = encode(pixels, "PNG")
    chunk = b"eXIf" + exif_of(6, as_long=True, little=False)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    end = content.rindex(b"IEND") - 4
    np.testing.assert_array_equal(decode(content[:end] + chunk + content[end:]).numpy(), np.rot90(pixels, -1))


@pytest.mark.parametrize("cut", [4, 9, 20, 30, 60])
def test_cut_exif_data_are_ignored(decode, cut):
    pixels = np.full((8, 16, 3), 90, "uint8")
    assert decode(encode(pixels, "JPEG", exif=b"Exif\0\0" + exif_of(6)[:cut])).shape[2] == 3


def test_a_jpeg_with_other_segments_before_its_exif(decode):
    pixels = np.random.default_rng(2).integers(0, 256, (8, 16, 3), "uint8")
    content = encode(pixels, "JPEG", exif=b"Exif\0\0" + exif_of(8), icc_profile=bytes(3000), comment=b"Exif\0\0II*\0")
    other = b"\xff\xe1" + struct.pack(">H", 2 + 20) + b"http://ns.adobe.com/"
    filled = content[:2] + other + b"\xff\xff" + content[2:]
    np.testing.assert_array_equal(decode(filled).numpy(), np.asarray(upright_on_white(content)))


def test_a_transparent_color_of_a_palette_or_of_gray_becomes_white(decode):
    for mode in ("L", "P"):
        image = Image.fromarray(np.arange(64, dtype="uint8").reshape(8, 8)).convert(mode)
        file = io.BytesIO()
        image.save(file, "PNG", transparency=9)
        expected = np.asarray(Picture(file.getvalue(), mode).decode())
        assert (expected[1, 1] == 255).all()
        np.testing.assert_array_equal(decode(file.getvalue()).numpy(), expected)


def test_sixteen_bits_are_read_in_the_range_that_is_stated():
    gray = np.arange(0, 4096, 2, "uint16").reshape(32, 64)
    rule = Preprocessing(image_size=(32, 64), pixel_range=(100, 3000))
    content = encode(gray, "PNG")
    np.testing.assert_array_equal(prepare(content, rule), Picture(content, "gray").preprocess(rule))


def test_what_can_not_be_read_is_told_and_black_without_an_error():
    rule = Preprocessing(image_size=(16, 24))

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def read(content):
        return preprocess_file(content, rule)

    huge = encode(np.zeros((8, 8), "uint8"), "PNG")
    header = b"IHDR" + struct.pack(">II", 10_000, 5_001) + huge[24:29]
    wide_png = huge[:12] + header + struct.pack(">I", zlib.crc32(header)) + huge[33:]
    frame = FILES["jpeg"].index(b"\xff\xc0") + 5
    wide_jpeg = FILES["jpeg"][:frame] + struct.pack(">HH", 10_000, 5_001) + FILES["jpeg"][frame + 4 :]
    bad = {
        "not a JPEG or PNG file: convert others, such as WebP": [photos()["gif"], b"", b"\xff", b"hello"],
        "more than 50 million pixels": [wide_png, wide_jpeg],
        "the file is damaged": [FILES[name][:size] for name in ("jpeg", "png") for size in (10, len(FILES[name]) // 2)],
    }
    for expected, contents in bad.items():
        for content in contents:
            pixels, problem = read(content)
            assert problem.numpy().decode() == expected
            assert pixels.shape == (16, 24, 3)
            assert not pixels.numpy().any()
    pixels, problem = read(FILES["jpeg"])
    assert problem.numpy() == b""
    np.testing.assert_array_equal(pixels, Picture(FILES["jpeg"], "jpeg").preprocess(rule))
