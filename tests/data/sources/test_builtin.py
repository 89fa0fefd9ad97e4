import gzip
import hashlib
from importlib.resources import files
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vit_keras.data import load
from vit_keras.data.sources.builtin import KERAS_NAMES, UNSEEN_STYLE
from vit_keras.errors import DataError

EMOJI_FILE = Path(str(files("vit_keras"))) / "data" / "emoji.npz"
# SHA-256 of the names and bytes of all arrays, as scripts/build_emoji.py builds them.
EMOJI_ARRAYS = "cde523a98686646ddefcfc186b425a3e0f97d3ff3c92e7afdfacca948e4883ba"
GROUPS = (
    "Activities", "Animals & Nature", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion", "Symbols",
    "Travel & Places",
)  # fmt: skip


@pytest.fixture(scope="module")
def archive():
    with np.load(EMOJI_FILE, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def emoji():
    return load("emoji")


def each_image(images):
    return {image.tobytes() for image in images}


def test_the_emoji_file_is_small_as_built_and_attributed(archive):
    assert EMOJI_FILE.stat().st_size <= 5.5e6
    contents = b"".join(name.encode() + archive[name].tobytes() for name in sorted(archive))
    assert hashlib.sha256(contents).hexdigest() == EMOJI_ARRAYS
    attribution = (EMOJI_FILE.parent / "EMOJI-ATTRIBUTION.md").read_text()
    assert all(f"`{style}`" in attribution for style in archive["style_names"])


def test_emoji_has_eight_groups_and_these_sizes(emoji):
    assert (emoji.class_names, emoji.image_shape) == (GROUPS, (32, 32, 3))
    assert emoji.sizes == {"train": 5552, "validation": 616, "test": 1629}
    train, validation, test = (np.bincount(emoji.splits[name].labels, minlength=8) for name in emoji.sizes)
    np.testing.assert_allclose(validation / (train + validation), 0.1, atol=0.005)
    assert (test > 0).all()


def test_emoji_tests_on_a_style_that_training_never_sees(emoji, archive):
    unseen = archive["style_names"][archive["styles"]] == UNSEEN_STYLE
    np.testing.assert_array_equal(emoji.splits["test"].images, archive["images"][unseen])
    np.testing.assert_array_equal(emoji.splits["test"].labels, archive["labels"][unseen])
    seen = sorted(image.tobytes() for image in archive["images"][~unseen])
    used = [*emoji.splits["train"].images, *emoji.splits["validation"].images]
    assert sorted(image.tobytes() for image in used) == seen
    assert not each_image(used) & each_image(emoji.splits["test"].images)


def test_the_seed_draws_the_validation_split_and_a_limit_some_images_of_each(emoji):
    assert load("emoji").fingerprint == emoji.fingerprint
    other = load("emoji", seed=1)
    assert other.fingerprint != emoji.fingerprint
    assert (other.splits["test"].images == emoji.splits["test"].images).all()
    for name, split in load("emoji", limit=50).splits.items():
        assert len(split) == 50
        assert each_image(split.images) <= each_image(emoji.splits[name].images)


def test_the_digits_are_those_of_scikit_learn_and_need_no_network():
    data, known = load("digits"), load_digits()
    assert (data.image_shape, data.sizes) == ((8, 8, 1), {"train": 900, "validation": 100, "test": 797})
    np.testing.assert_allclose(data.splits["test"].images[..., 0] * (16 / 255), known.images[1000:], atol=0.04)
    np.testing.assert_array_equal(data.splits["test"].labels, known.target[1000:])


def idx(array):
    """Returns an array in the format of the MNIST family: a magic number, the sizes, the bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.astype("uint8").tobytes())


def test_fashion_mnist_is_read_from_existing_files(tmp_path, monkeypatch, rng):
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (count, 28, 28), "uint8"), np.arange(count) % 10
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # Keras reads KERAS_HOME once, at import
    data = load("fashion_mnist")
    assert data.class_names[0] == "T-shirt/top"
    assert (data.image_shape, data.sizes) == ((28, 28, 1), {"train": 50, "validation": 10, "test": 20})
    np.testing.assert_array_equal(data.splits["test"].images[..., 0], images)
    np.testing.assert_array_equal(data.splits["test"].labels, labels)
    colored = load("fashion_mnist", image_size=32, channels=3, limit=5)
    assert colored.image_shape == (32, 32, 3)
    assert (colored.splits["train"].images == colored.splits["train"].images[..., :1]).all()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match=r"fashion_mnist could not be loaded.*KERAS_HOME"):
        load("fashion_mnist")


def test_without_a_network_the_error_says_where_to_put_the_files(monkeypatch):
    for name in KERAS_NAMES:
        unreachable = Mock(side_effect=OSError("<urlopen error Temporary failure in name resolution>"))
        monkeypatch.setattr(f"keras.datasets.{name}.load_data", unreachable)
        with pytest.raises(DataError, match=rf"{name} could not be loaded: .*name resolution.*\.keras/datasets"):
            load(name)
