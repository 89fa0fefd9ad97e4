"""The embedded weights: what is beside them, and what they never saw."""

import json
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

import vit_keras
from vit_keras.data.doctor.duplicates import NEAR
from vit_keras.presets import list_presets, load_preset, preset_info
from vit_keras.runtime.files import file_sha256

PACKAGE = Path(vit_keras.__file__).parent
GOLDEN = Path(__file__).parents[1] / "golden"
EMBEDDED = {
    name: load_preset(name).weights["drawings"].directory
    for name in list_presets()
    if "drawings" in load_preset(name).weights
}
pytestmark = pytest.mark.any_backend


def perceptual_hash(image):
    return int(str(imagehash.phash(Image.fromarray(image).convert("L"))), 16)


def is_near(images):
    """Which images look like a training drawing, by the data doctor's measure."""
    hashes = np.array([perceptual_hash(image) for image in images], "uint64")
    with np.load(GOLDEN / "drawings.npz") as seen:
        return (np.bitwise_count(hashes[:, None] ^ seen["perceptual"].reshape(-1)[None]) <= NEAR).any(axis=1)


@pytest.fixture(scope="module")
def emoji():
    with np.load(PACKAGE / "data" / "emoji.npz") as arrays:
        return {name: arrays[name] for name in ("images", "styles", "style_names")}


def of_style(emoji, name):
    return emoji["images"][emoji["style_names"][emoji["styles"]] == name]


def test_they_are_small_licensed_and_trained_on_the_recorded_drawings():
    assert set(EMBEDDED) == {"vit_nano_conv8_32", "vit_nano_conv8_64"}
    files = {path for directory in EMBEDDED.values() for path in directory.iterdir()}
    assert sum(path.stat().st_size for path in files) < 3e6
    assert (PACKAGE / "presets" / "embedded" / "DRAWINGS-ATTRIBUTION.md").is_file()
    for name, directory in EMBEDDED.items():
        training = json.loads((directory / "training.json").read_text("utf-8"))
        assert training["drawings"] == file_sha256(GOLDEN / "drawings.npz")
        weights = preset_info(name)["weights"]["drawings"]
        assert (weights["license"], weights["url"]) == ("Apache-2.0", None)
        assert weights["num_classes"] == len(json.loads((directory / "labels.json").read_text("utf-8")))
        assert "not an ImageNet model" in weights["note"]
        card = (directory / "README.md").read_text("utf-8")
        assert "license: apache-2.0" in card
        assert "Not an ImageNet model" in card


def test_no_training_drawing_looks_like_a_test_image_of_the_emoji_set_at_any_size(emoji):
    tested = of_style(emoji, "twemoji")
    assert len(tested) > 1000
    assert not is_near(tested).any()
    larger = [np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC)) for image in tested]
    assert np.mean(is_near(larger)) < 0.001


def test_the_hashes_recognize_a_training_drawing_after_a_resize(emoji):
    seen = of_style(emoji, "noto")[::10]
    smaller = [np.asarray(Image.fromarray(image).resize((24, 24), Image.Resampling.BILINEAR)) for image in seen]
    assert np.mean(is_near(seen)) > 0.9  # the others look like a test image and were left out, or changed a hash bit
    assert np.mean(is_near(smaller)) > 0.8


def test_no_handwritten_digit_of_the_benchmarks_looks_like_a_training_drawing():
    datasets = pytest.importorskip("sklearn.datasets")
    pixels = datasets.load_digits().images[::5]
    images = [np.asarray(Image.fromarray((image * 15.9).astype("uint8")).resize((32, 32))) for image in pixels]
    assert not is_near(images).any()
