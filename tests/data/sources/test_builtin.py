import gzip
import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.data.sources.builtin import KERAS_NAMES, UNSEEN_STYLE
from vit_keras.errors import DataError

EMOJI_FILE = Path(str(files("vit_keras"))) / "data" / "emoji.npz"
# SHA-256 of the bytes of each array, as scripts/build_emoji.py builds them.
EMOJI_ARRAYS = {
    "images": "fda50083b65f9a3c4b4b7abf75e845032cf304093c1f89a8819a114e98446eef",
    "labels": "21857ae2b2b5496246acdd3e6c70caf7e82ee03ce5260b3f0e608a3b09c3cd9b",
    "styles": "bd2e7f662c4319aa012d87e4079745ffcfeda9646c6d58934a1aa85a7ae336af",
    "names": "4dc531a224cc2d46ca977ab0fc5c893cdc48444ac4861069ac0d4a8547049a72",
    "class_names": "6996d27f5d2da5fc8ba7bdeae529515332ca2aee794051eba13b7b01fa15779d",
    "style_names": "13382236db7a9980f8f3266fae884d344639dea0339141007c2018670242e7db",
}
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
    assert {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in archive.items()} == EMOJI_ARRAYS
    attribution = (EMOJI_FILE.parent / "EMOJI-ATTRIBUTION.md").read_text()
    assert all(f"`{style}`" in attribution for style in archive["style_names"])


def test_emoji_has_eight_groups_and_these_sizes(emoji):
    assert emoji.class_names == GROUPS
    assert emoji.image_shape == (32, 32, 3)
    assert emoji.sizes == {"train": 5552, "validation": 616, "test": 1629}
    for label in range(8):
        train, validation, test = (
            (emoji.splits[name].labels == label).sum() for name in ("train", "validation", "test")
        )
        assert abs(validation / (train + validation) - 0.1) < 0.005
        assert test > 0


def test_emoji_tests_on_a_style_that_training_never_sees(emoji, archive):
    unseen = archive["style_names"][archive["styles"]] == UNSEEN_STYLE
    np.testing.assert_array_equal(emoji.splits["test"].images, archive["images"][unseen])
    np.testing.assert_array_equal(emoji.splits["test"].labels, archive["labels"][unseen])
    seen = sorted(image.tobytes() for image in archive["images"][~unseen])
    used = [*emoji.splits["train"].images, *emoji.splits["validation"].images]
    assert sorted(image.tobytes() for image in used) == seen
    assert not each_image(used) & each_image(emoji.splits["test"].images)


def test_the_seed_draws_the_validation_split(emoji):
    assert load("emoji").fingerprint == emoji.fingerprint
    other = load("emoji", seed=1)
    assert other.fingerprint != emoji.fingerprint
    assert (other.splits["test"].images == emoji.splits["test"].images).all()


def test_a_limit_takes_some_images_of_each_split(emoji):
    for name, split in load("emoji", limit=50).splits.items():
        assert len(split) == 50
        assert each_image(split.images) <= each_image(emoji.splits[name].images)


def idx(array):
    """Returns an array in the format of the MNIST family: a magic number, the sizes, the bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.astype("uint8").tobytes())


@pytest.fixture
def fashion(tmp_path, monkeypatch, rng):
    """A Fashion-MNIST of 60 and 20 images in a Keras home of its own."""
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    arrays = {}
    for part, count in (("train", 60), ("t10k", 20)):
        arrays[part] = rng.integers(0, 256, (count, 28, 28), "uint8"), np.arange(count) % 10
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(arrays[part][0]))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(arrays[part][1]))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # Keras reads KERAS_HOME once, at import
    return folder, arrays


def test_fashion_mnist_is_read_from_existing_files(fashion):
    data = load("fashion_mnist")
    assert data.class_names[0] == "T-shirt/top"
    assert data.image_shape == (28, 28, 1)
    assert data.sizes == {"train": 50, "validation": 10, "test": 20}
    images, labels = fashion[1]["t10k"]
    np.testing.assert_array_equal(data.splits["test"].images[..., 0], images)
    np.testing.assert_array_equal(data.splits["test"].labels, labels)
    colored = load("fashion_mnist", image_size=32, channels=3, limit=5)
    assert colored.image_shape == (32, 32, 3)
    assert (colored.splits["train"].images == colored.splits["train"].images[..., :1]).all()


def test_a_broken_file_is_an_error_that_names_the_folder(fashion):
    images = fashion[0] / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"fashion_mnist could not be loaded.*KERAS_HOME"):
        load("fashion_mnist")


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_without_a_network_the_error_says_where_to_put_the_files(monkeypatch, name):
    def unreachable():
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr(f"keras.datasets.{name}.load_data", unreachable)
    with pytest.raises(DataError, match=rf"{name} could not be loaded: .*name resolution.*\.keras/datasets"):
        load(name)
