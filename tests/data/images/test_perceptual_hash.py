import imagehash
import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from vit_keras.data.images.perceptual_hash import perceptual_hash

pytestmark = pytest.mark.any_backend


def pictures():
    for photo in load_sample_images().images:
        whole = Image.fromarray(photo).convert("L")
        yield from (whole, whole.resize((91, 64)), whole.crop((10, 20, 300, 200)), whole.rotate(90, expand=True))
        yield whole.filter(ImageFilter.GaussianBlur(3))
    yield from (Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90))
    rng = np.random.default_rng(0)
    for side in rng.integers(8, 200, (40, 2)):
        yield Image.fromarray(rng.integers(0, 256, tuple(side)).astype("uint8"))


def test_the_bits_are_those_of_imagehash():
    found = [(perceptual_hash(picture), str(imagehash.phash(picture))) for picture in pictures()]
    assert len({ours for ours, _ in found}) > 40
    assert [ours for ours, _ in found] == [theirs for _, theirs in found]
