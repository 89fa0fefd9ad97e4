from typing import ClassVar

import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.data.sources.tfds import Examples
from vit_keras.errors import DataError


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A folder for TensorFlow Datasets, and two data sets that need no network."""
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        """Images of one color, of growing height."""

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
        """No images."""

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


SIZES = {"train": 18, "validation": 2, "test": 6}


def test_a_name_is_prepared_and_read(home):
    data = load("tiny_pictures", image_size=12)
    assert (data.class_names, data.image_shape, data.sizes) == (("a", "b"), (12, 12, 3), SIZES)
    split = data.splits["test"].prepared
    assert (split.images == split.images[:, :1, :1]).all()  # each of one color, its number
    assert (split.images[:, 0, 0, 0] % 2 == split.labels).all()
    assert (home / "tiny_pictures").is_dir()


def test_images_of_several_sizes_need_an_image_size():
    with pytest.raises(DataError, match="different sizes; pass image_size"):
        load("tiny_pictures")


def test_a_data_set_too_large_for_memory_needs_a_limit(monkeypatch):
    monkeypatch.setattr("vit_keras.data.sources.tfds._LARGEST_BYTES", 800)
    with pytest.raises(DataError, match="in memory: pass a limit"):
        load("tiny_pictures", image_size=12)
    assert load("tiny_pictures", image_size=12, limit=4).sizes["train"] == 4


@pytest.mark.parametrize("name", ["tiny_pictures/plain", "tiny_pictures:1.0.0", "tiny_pictures/plain:1.0.0"])
def test_a_name_may_have_a_configuration_and_a_version(name):
    assert load(name, image_size=12).class_names == ("a", "b")


def test_a_data_set_without_images_and_labels_is_an_error():
    with pytest.raises(DataError, match=r"'tiny_numbers' has the features \['number'\]; expected an image and a label"):
        load("tiny_numbers")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emojis", "There is no data set 'emojis'.*closest names are .*'emoji'"),
        ("tf_flower", "There is no data set 'tf_flower'.*closest names are .*'tf_flowers'"),
        ("été b", "There is no data set"),
        ("-", "There is no data set"),
        ("", "There is no data set ''"),
        ("huggingface:mnist", "a community data set: loading it would run its author's code"),
    ],
)
def test_an_unknown_name_is_an_error(name, message):
    with pytest.raises(DataError, match=message):
        load(name, image_size=16)


def test_the_prefix_tfds_distinguishes_a_name_from_a_folder(make_folder, tmp_path, monkeypatch):
    make_folder({"cat": 3, "dog": 3}, tmp_path / "tiny_pictures")
    monkeypatch.chdir(tmp_path)
    assert load("tfds:tiny_pictures", image_size=12).class_names == ("a", "b")
    assert load("tiny_pictures", image_size=12).class_names == ("cat", "dog")


def test_a_builder_and_its_folder_are_read_without_a_network(monkeypatch):
    import tensorflow_datasets as tfds

    expected = load("tfds:tiny_pictures", image_size=12).fingerprint

    def no_network(*arguments, **keywords):
        raise AssertionError("the network was used")

    monkeypatch.setattr("tensorflow_datasets.core.download.DownloadManager.download", no_network)
    builder = tfds.builder("tiny_pictures")
    assert load(builder, image_size=12).fingerprint == expected
    assert load(f"tfds:{builder.data_dir}", image_size=12).fingerprint == expected


def test_array_record_is_read_from_disk():
    import tensorflow_datasets as tfds

    builder = tfds.builder("tiny_pictures/other", file_format="array_record")
    builder.download_and_prepare()
    data = load(builder, image_size=12)
    files = data.splits["test"].files
    assert isinstance(files, Examples)
    assert not isinstance(files.contents, list)
    assert data.sizes == SIZES
    images = data.splits["test"].prepared.images
    assert (images[:, 0, 0, 0] % 2 == data.splits["test"].labels).all()


def test_a_folder_builder_is_read_as_its_folder(make_folder, tmp_path):
    import tensorflow_datasets as tfds

    for name in ("train", "test"):
        make_folder({"cat": 4, "dog": 4}, tmp_path / "root" / name)
    (tmp_path / "root" / "train" / "cat" / "broken.png").write_bytes(b"broken")
    data = load(tfds.ImageFolder(str(tmp_path / "root")), image_size=12)
    assert data.class_names == ("cat", "dog")
    assert data.sizes == {"train": 6, "validation": 2, "test": 8}
    assert "broken.png" in " ".join(data.notes)


def test_a_data_set_that_cannot_be_downloaded_is_an_error(monkeypatch):
    def unreachable(*arguments, **keywords):
        raise OSError("name resolution failed")

    monkeypatch.setattr("tensorflow_datasets.core.DatasetBuilder.download_and_prepare", unreachable)
    with pytest.raises(DataError, match=r"not prepared on this machine.*name resolution failed.*TFDS_DATA_DIR"):
        load("tfds:tiny_pictures", image_size=12)
