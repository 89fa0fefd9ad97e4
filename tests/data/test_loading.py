import gzip
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.data.sources.builtin import UNSEEN_STYLE
from vit_keras.errors import DataError, VitKerasError

EMOJI_FILE = Path(str(files("vit_keras"))) / "data" / "emoji.npz"
# SHA-256 of each array's bytes: the data set is what scripts/build_emoji.py builds.
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


def test_the_emoji_file_is_small_enough_for_a_wheel():
    assert EMOJI_FILE.stat().st_size <= 5.5e6


def test_the_emoji_arrays_are_those_of_the_build_script(archive):
    assert {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in archive.items()} == EMOJI_ARRAYS


def test_every_style_is_attributed(archive):
    attribution = (EMOJI_FILE.parent / "EMOJI-ATTRIBUTION.md").read_text()
    assert all(f"`{style}`" in attribution for style in archive["style_names"])


def test_emoji_has_eight_groups_and_these_counts(emoji):
    assert emoji.class_names == GROUPS
    assert emoji.image_shape == (32, 32, 3)
    assert {name: len(split) for name, split in emoji.splits.items()} == {
        "train": 5552,
        "validation": 616,
        "test": 1629,
    }
    assert all(set(split.labels) == set(range(8)) for split in emoji.splits.values())


def test_emoji_tests_on_a_style_that_training_never_sees(emoji, archive):
    unseen = archive["style_names"][archive["styles"]] == UNSEEN_STYLE
    np.testing.assert_array_equal(emoji.splits["test"].images, archive["images"][unseen])
    np.testing.assert_array_equal(emoji.splits["test"].labels, archive["labels"][unseen])
    seen = sorted(image.tobytes() for image in archive["images"][~unseen])
    used = [*emoji.splits["train"].images, *emoji.splits["validation"].images]
    assert sorted(image.tobytes() for image in used) == seen


def test_no_test_image_is_also_a_training_image(emoji):
    splits = {name: each_image(split.images) for name, split in emoji.splits.items()}
    assert not splits["test"] & (splits["train"] | splits["validation"])


def test_validation_is_a_tenth_of_each_class(emoji):
    for label in range(8):
        train, validation = ((emoji.splits[name].labels == label).sum() for name in ("train", "validation"))
        assert abs(validation / (train + validation) - 0.1) < 0.005


def test_the_seed_decides_what_is_held_out(emoji):
    assert load("emoji").fingerprint == emoji.fingerprint
    other = load("emoji", seed=1)
    assert other.fingerprint != emoji.fingerprint
    assert (other.splits["test"].images == emoji.splits["test"].images).all()


def test_batch_size_and_seed_are_kept(emoji):
    data = load("emoji", batch_size=7, seed=3, limit=20)
    assert (data.batch_size, data.seed) == (7, 3)
    assert next(iter(data.test))[0].shape == (7, 32, 32, 3)


def test_a_limit_takes_some_of_each_split(emoji):
    data = load("emoji", limit=50)
    for name, split in data.splits.items():
        assert len(split) == 50
        assert each_image(split.images) <= each_image(emoji.splits[name].images)


def test_image_size_resizes_every_split():
    data = load("emoji", image_size=(16, 24), limit=10)
    assert {split.images.shape for split in data.splits.values()} == {(10, 16, 24, 3)}
    assert load("emoji", image_size=40, limit=2).image_shape == (40, 40, 3)


def test_resizing_keeps_the_mean_of_each_image():
    large, small = load("emoji", limit=50), load("emoji", limit=50, image_size=16)
    means = [data.splits["test"].images.mean(axis=(1, 2)) for data in (large, small)]
    np.testing.assert_allclose(*means, atol=2.5)


def test_one_channel_is_the_luma():
    colour, grey = load("emoji", limit=20), load("emoji", limit=20, channels=1)
    assert grey.image_shape == (32, 32, 1)
    luma = colour.splits["test"].images @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.splits["test"].images[..., 0], luma, atol=1)


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_are_one_or_three(channels):
    with pytest.raises(DataError, match=f"only 1 and 3 turn into one another, not {channels}"):
        load("emoji", channels=channels, limit=3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"limit": 0}, {"limit": -1}, {"limit": 1.5}, {"batch_size": 0}, {"batch_size": -3}, {"seed": -1},
        {"image_size": 0}, {"image_size": (32,)}, {"image_size": "32"}, {"image_size": -4}, {"channels": "3"},
    ],
)  # fmt: skip
def test_arguments_that_mean_nothing_are_refused_by_name(arguments):
    with pytest.raises(VitKerasError, match=next(iter(arguments))):
        load("emoji", **arguments)


def idx(array):
    """Returns an array as the MNIST family writes them: a magic number, the sizes, the bytes."""
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


def test_fashion_mnist_is_read_from_the_files_that_are_there(fashion):
    data = load("fashion_mnist")
    assert data.class_names[0] == "T-shirt/top"
    assert data.image_shape == (28, 28, 1)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 50, "validation": 10, "test": 20}
    images, labels = fashion[1]["t10k"]
    np.testing.assert_array_equal(data.splits["test"].images[..., 0], images)
    np.testing.assert_array_equal(data.splits["test"].labels, labels)


def test_fashion_mnist_turns_into_colour_images_of_another_size(fashion):
    data = load("fashion_mnist", image_size=32, channels=3, limit=5)
    assert data.image_shape == (32, 32, 3)
    pixels = data.splits["train"].images
    assert (pixels == pixels[..., :1]).all()


def test_fashion_mnist_in_a_broken_file_says_where_it_belongs(fashion):
    images = fashion[0] / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"fashion_mnist could not be loaded.*KERAS_HOME"):
        load("fashion_mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_without_a_network_the_way_out_is_said(monkeypatch, name):
    def unreachable():
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr(f"keras.datasets.{name}.load_data", unreachable)
    with pytest.raises(DataError, match=rf"{name} could not be loaded: .*name resolution.*\.keras/datasets"):
        load(name)


@pytest.fixture(scope="module")
def tfds_home(tmp_path_factory):
    """A folder for TensorFlow Datasets, and two data sets of ours that need no network."""
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        """Pictures of one colour, of growing height."""

        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="plain"), tfds.core.BuilderConfig(name="other")]

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["a", "b"]),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(20), "test": self._generate_examples(6)}

        def _generate_examples(self, count):
            for index in range(count):
                yield index, {"image": np.full((8 + index, 10, 3), index, "uint8"), "label": index % 2}

    class TinyNumbers(tfds.core.GeneratorBasedBuilder):
        """No pictures."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"number": np.int64})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {}

        def _generate_examples(self):
            yield from ()

    home, before = tmp_path_factory.mktemp("tfds"), tfds.core.constants.DATA_DIR
    tfds.core.constants.DATA_DIR = str(home)  # TFDS_DATA_DIR is read once, at import
    tfds.disable_progress_bar()
    yield home
    tfds.core.constants.DATA_DIR = before


def test_a_tensorflow_datasets_name_is_prepared_and_read(tfds_home):
    data = load("tiny_pictures", image_size=12)
    assert data.class_names == ("a", "b")
    assert data.image_shape == (12, 12, 3)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 18, "validation": 2, "test": 6}
    split = data.splits["test"].prepared
    assert (split.images == split.images[:, :1, :1]).all()  # each of one colour, its number
    assert (split.images[:, 0, 0, 0] % 2 == split.labels).all()
    assert (tfds_home / "tiny_pictures").is_dir()


def test_images_of_several_sizes_need_an_image_size(tfds_home):
    with pytest.raises(DataError, match="different sizes; give image_size"):
        load("tiny_pictures")


def test_a_data_set_too_large_for_memory_is_refused(tfds_home, monkeypatch):
    monkeypatch.setattr("vit_keras.data.sources.tfds._LARGEST_BYTES", 800)
    with pytest.raises(DataError, match="in memory: give a limit"):
        load("tiny_pictures", image_size=12)


def test_a_limit_is_a_way_out_of_a_data_set_too_large_for_memory(tfds_home, monkeypatch):
    monkeypatch.setattr("vit_keras.data.sources.tfds._LARGEST_BYTES", 800)
    assert len(load("tiny_pictures", image_size=12, limit=4).splits["train"]) == 4


@pytest.mark.parametrize("name", ["tiny_pictures/plain", "tiny_pictures:1.0.0", "tiny_pictures/plain:1.0.0"])
def test_a_name_may_have_a_configuration_and_a_version(tfds_home, name):
    assert load(name, image_size=12).class_names == ("a", "b")


def test_a_data_set_without_images_and_labels_says_what_it_has(tfds_home):
    with pytest.raises(DataError, match=r"'tiny_numbers' has \['number'\]; an image and a label with names are needed"):
        load("tiny_numbers")


@pytest.mark.parametrize(
    ("name", "proposed"), [("emojis", "emoji"), ("fashionmnist", "fashion_mnist"), ("tf_flower", "tf_flowers")]
)
def test_an_unknown_name_proposes_the_closest(name, proposed):
    with pytest.raises(DataError, match=rf"There is no data set '{name}'.*closest names are .*'{proposed}'"):
        load(name)


@pytest.mark.parametrize("name", ["a b", "7x", "été", "UPPER", "-"])
def test_what_can_be_no_name_is_refused(name):
    with pytest.raises(DataError, match="There is no data set"):
        load(name)


def test_nothing_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="There is no data set ''"):
        load("", image_size=16)


@pytest.mark.parametrize("name", ["huggingface:mnist", "someone:their_data"])
def test_a_community_data_set_is_refused_since_it_would_run_code(name):
    with pytest.raises(DataError, match="community data set, which would run its author's code"):
        load(name)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_read(image_folder, kind):
    data = load(kind(image_folder), image_size=16)
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (16, 16, 3)


def test_a_folder_in_the_working_directory_is_found_by_its_name(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    assert load(image_folder.name, image_size=16, channels=1).image_shape == (16, 16, 1)


def test_a_folder_in_the_home_is_found(image_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(image_folder.parent))
    assert load(f"~/{image_folder.name}", image_size=16).class_names == ("cat", "dog")


@pytest.mark.parametrize("source", ["./emoji", Path("emoji")])
def test_a_folder_named_as_a_data_set_is_meant_with_a_slash_or_as_a_path(make_folder, tmp_path, monkeypatch, source):
    make_folder({"cat": 3, "dog": 3}, tmp_path / "emoji")
    monkeypatch.chdir(tmp_path)
    assert load(source, image_size=16).class_names == ("cat", "dog")


def test_a_folder_needs_an_image_size(image_folder):
    with pytest.raises(DataError, match="give image_size"):
        load(image_folder)


def test_a_folder_takes_one_or_three_channels(image_folder):
    with pytest.raises(VitKerasError, match="channels"):
        load(image_folder, image_size=16, channels=2)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        load(tmp_path / "nowhere", image_size=16)


def test_the_prefix_tfds_means_tensorflow_datasets_whatever_folders_there_are(
    tfds_home, make_folder, tmp_path, monkeypatch
):
    make_folder({"cat": 3, "dog": 3}, tmp_path / "tiny_pictures")
    monkeypatch.chdir(tmp_path)
    assert load("tfds:tiny_pictures", image_size=12).class_names == ("a", "b")
    assert load("tiny_pictures", image_size=12).class_names == ("cat", "dog")


def test_a_builder_and_a_folder_it_prepared_are_read_without_a_network(tfds_home, monkeypatch):
    import tensorflow_datasets as tfds

    expected = load("tfds:tiny_pictures", image_size=12).fingerprint

    def no_network(*arguments, **keywords):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("tensorflow_datasets.core.download.DownloadManager.download", no_network)
    builder = tfds.builder("tiny_pictures")
    assert load(builder, image_size=12).fingerprint == expected
    assert load(f"tfds:{builder.data_dir}", image_size=12).fingerprint == expected


def test_a_data_set_prepared_as_array_record_is_read_from_the_disk(tfds_home):
    import tensorflow_datasets as tfds

    from vit_keras.data.sources.tfds import Examples

    builder = tfds.builder("tiny_pictures/other", file_format="array_record")
    builder.download_and_prepare()
    data = load(builder, image_size=12)
    files = data.splits["test"].files
    assert isinstance(files, Examples)
    assert not isinstance(files.contents, list)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 18, "validation": 2, "test": 6}
    images = data.splits["test"].prepared.images
    assert (images[:, 0, 0, 0] % 2 == data.splits["test"].labels).all()


def test_a_folder_builder_is_the_folder(make_folder, tmp_path):
    import tensorflow_datasets as tfds

    for name in ("train", "test"):
        make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / name)
    (tmp_path / "root" / "train" / "cat" / "broken.png").write_bytes(b"broken")
    data = load(tfds.ImageFolder(str(tmp_path / "root")), image_size=12)
    assert data.class_names == ("cat", "dog")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "validation": 2, "test": 8}
    assert "broken.png" in " ".join(data.notes)


def test_a_data_set_that_is_not_prepared_says_how_to_bring_it(tfds_home, monkeypatch):
    def unreachable(*arguments, **keywords):
        raise OSError("name resolution failed")

    monkeypatch.setattr("tensorflow_datasets.core.DatasetBuilder.download_and_prepare", unreachable)
    with pytest.raises(DataError, match=r"not prepared on this machine.*name resolution failed.*TFDS_DATA_DIR"):
        load("tfds:tiny_pictures", image_size=12)
