import json
import os
import signal

import numpy as np
import pytest
from PIL import Image
from serving.pictures import BAD, encode, noise

from vit_keras.data import Preprocessing
from vit_keras.data.images.signatures import FORMATS
from vit_keras.errors import DataError
from vit_keras.serving.decode_worker import decode
from vit_keras.serving.upload_decoder import UploadDecoder


@pytest.fixture(scope="module")
def decoder():
    made = UploadDecoder(Preprocessing(image_size=(16, 20)))
    yield made
    made.end()


def test_pixels_are_those_of_pillow(decoder):
    image = noise(16, 20)
    np.testing.assert_array_equal(decoder.decode(encode(image), "a.png"), image)
    large = noise(40, 50)
    expected = Image.fromarray(large).resize((20, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decoder.decode(encode(large), "b.png"), np.asarray(expected))


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "HEIF"])
def test_every_format_is_read_within_the_memory_of_the_process(decoder, form):
    image = np.full((16, 20, 3), 200, "uint8")
    found = decoder.decode(encode(image, form), f"a.{form.lower()}")
    np.testing.assert_allclose(found, image, atol=3)  # some formats lose a little


@pytest.mark.slow
def test_a_photo_of_24_million_pixels_is_read(decoder):
    photo = np.full((4000, 6000, 4), 255, "uint8")
    assert (decoder.decode(encode(photo), "large.png") == 255).all()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_a_reason_and_the_next_is_read(decoder, name):
    with pytest.raises(DataError, match=f"^{name}: ") as raised:
        decoder.decode(BAD[name], name)
    assert ("25 million" in str(raised.value)) == (name == "bomb")
    image = noise(16, 20)
    np.testing.assert_array_equal(decoder.decode(encode(image), "good.png"), image)


def test_camera_raw_is_known_by_its_name(decoder):
    tiff = encode(noise(16, 20), "TIFF")
    assert decoder.decode(tiff, "scan.tif").shape == (16, 20, 3)
    with pytest.raises(DataError, match=r"IMG_1.NEF: camera raw"):
        decoder.decode(tiff, "IMG_1.NEF")


def test_a_process_that_was_killed_is_replaced(decoder):
    for _ in range(decoder._pool.count):
        process = decoder._pool._idle.get()
        os.kill(process.pid, signal.SIGKILL)
        decoder._pool._idle.put(process)
    image = noise(16, 20)
    for _ in range(decoder._pool.count + 1):
        np.testing.assert_array_equal(decoder.decode(encode(image), "a.png"), image)


def test_gray_and_bordered_images_follow_the_rule():
    rule = Preprocessing(image_size=(8, 8), channels=1, crop_mode="border")
    pixels, failed = decode({"preprocessing": json.dumps(rule.to_dict()), "name": "x"}, encode(noise(8, 4)))
    assert (pixels.shape, failed) == ((1, 8, 8, 1), {})
    expected = np.asarray(Image.fromarray(noise(8, 4)).convert("L"))
    np.testing.assert_array_equal(pixels[0, :, 2:6, 0], expected)
    assert (pixels[0, :, [0, 1, 6, 7], 0] == 128).all()
