import subprocess
import sys
import traceback
from unittest.mock import Mock

import numpy as np
import pytest

from vit_keras.data import Preprocessing, load, load_unlabeled
from vit_keras.data.sources.tfds import Examples
from vit_keras.errors import DataError


def define(name, features, splits, **fields):
    """Defines a TensorFlow data set by its features and the images of each split."""
    import tensorflow_datasets as tfds

    methods = {
        "_info": lambda self: tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features)),
        "_split_generators": lambda self, _: {split: self._generate_examples(each) for split, each in splits.items()},
        "_generate_examples": lambda self, images: (
            (index, {"image": image, "label": index % 2}) for index, image in enumerate(images)
        ),
    }
    fields = {"VERSION": tfds.core.Version("1.0.0"), "__module__": __name__, **methods, **fields}
    return type(name, (tfds.core.GeneratorBasedBuilder,), fields)


def pictures(shape=(None, None, 3), dtype=np.uint8):
    import tensorflow_datasets as tfds

    return {
        "image": tfds.features.Image(shape=shape, dtype=dtype),
        "label": tfds.features.ClassLabel(names=["b", "a"]),
    }


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A folder for TensorFlow Datasets, and two data sets that need no network: images of growing height, and no images."""
    import tensorflow_datasets as tfds

    images = [np.full((8 + index, 10, 3), index, "uint8") for index in range(20)]
    configurations = [tfds.core.BuilderConfig(name=name) for name in ("plain", "other")]
    define("TinyPictures", pictures(), {"train": images, "test": images[:6]}, BUILDER_CONFIGS=configurations)
    define("TinyNumbers", {"number": np.int64}, {})
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("tfds")
        patch.setattr(tfds.core.constants, "DATA_DIR", str(home))  # TFDS_DATA_DIR is read once, at import
        tfds.disable_progress_bar()
        yield home


def test_splits_are_recognized_by_name(home):
    shades = {"train": 50, "val": 120, "testing": 200, "unlabelled": 1}
    images = {name: [np.full((8, 8, 3), shade, "uint8")] * 8 for name, shade in shades.items()}
    data = load(define("NamesOfSplits", pictures(), images)(data_dir=str(home)))
    expected = {"train": 50, "validation": 120, "test": 200}
    assert {name: split.image(0).max() for name, split in data.splits.items()} == expected
    assert data.decisions == (
        "names read as splits: train as train, val as validation, testing as test",
        "splits not used: unlabelled",
    )


def test_images_without_labels_are_for_pretraining_alone(home, rng):
    images = list(rng.integers(0, 256, (40, 9, 9, 3), "uint8"))
    only_image = {"image": pictures()["image"]}
    examples = {
        "_generate_examples": lambda self, images: ((index, {"image": image}) for index, image in enumerate(images))
    }
    builder = define("NoLabels", only_image, {"train": images, "test": images[:3]}, **examples)(data_dir=str(home))
    data = load_unlabeled(builder, preprocessing=Preprocessing(image_size=(9, 9)))
    assert (data.task, data.sizes) == ("unlabeled", {"train": 38, "validation": 2})
    assert "test images left out: 3" in data.decisions
    read = sorted(split.image(index).tobytes() for split in data.splits.values() for index in range(len(split)))
    assert read == sorted(image.tobytes() for image in images)
    with pytest.raises(DataError, match="expected an image and a label"):
        load(builder)


def test_other_dtypes_are_an_error(home):
    images = {"train": [np.full((8, 8, 1), 0.5, "float32")] * 8}
    builder = define("FloatPictures", pictures((8, 8, 1), np.float32), images)(data_dir=str(home))
    with pytest.raises(DataError, match="are float32; only uint8 can be loaded by name"):
        load(builder)


SIZES = {"train": 18, "validation": 2, "test": 6}


def test_a_name_is_prepared_and_read(home):
    data = load("tiny_pictures", image_size=12)
    assert (data.class_names, data.image_shape, data.sizes) == (("b", "a"), (12, 12, 3), SIZES)
    split = data.splits["test"].prepared
    assert (split.images == split.images[:, :1, :1]).all()  # each of one color, its number
    assert (split.images[:, 0, 0, 0] % 2 == split.labels).all()
    assert (home / "tiny_pictures").is_dir()
    assert load("tiny_pictures", image_size=12, class_names=["a", "b"]).class_names == ("a", "b")


def test_images_of_several_sizes_need_an_image_size_and_too_many_a_limit(monkeypatch):
    with pytest.raises(DataError, match="different sizes; pass image_size"):
        load("tiny_pictures")
    monkeypatch.setattr("vit_keras.data.sources.tfds._LARGEST_BYTES", 800)
    with pytest.raises(DataError, match="in memory: pass a limit"):
        load("tiny_pictures", image_size=12)
    assert load("tiny_pictures", image_size=12, limit=4).sizes["train"] == 4


def test_a_name_may_have_a_configuration_and_a_version():
    for name in ("tiny_pictures/plain", "tiny_pictures:1.0.0", "tiny_pictures/plain:1.0.0"):
        assert load(name, image_size=12).class_names == ("b", "a")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emojis", "There is no data set 'emojis'.*closest names are .*emoji"),
        ("tf_flower", "There is no data set 'tf_flower'.*closest names are .*tf_flowers"),
        ("été b", "There is no data set"),
        ("", "There is no data set ''"),
        ("huggingface:mnist", "a community data set: loading it would run its author's code"),
        ("tiny_numbers", r"'tiny_numbers' has the features number; expected an image and a label"),
    ],
)
def test_an_unknown_name_or_one_without_images_is_an_error(name, message):
    with pytest.raises(DataError, match=message):
        load(name, image_size=16)


def test_the_prefix_tfds_distinguishes_a_name_from_a_folder(make_folder, tmp_path, monkeypatch):
    make_folder({"cat": 3, "dog": 3}, tmp_path / "tiny_pictures")
    monkeypatch.chdir(tmp_path)
    assert load("tfds:tiny_pictures", image_size=12).class_names == ("b", "a")
    assert load("tiny_pictures", image_size=12).class_names == ("cat", "dog")


def test_a_builder_and_its_folder_are_read_without_a_network(monkeypatch):
    import tensorflow_datasets as tfds

    expected = load("tfds:tiny_pictures", image_size=12).fingerprint
    no_network = Mock(side_effect=AssertionError("the network was used"))
    monkeypatch.setattr("tensorflow_datasets.core.download.DownloadManager.download", no_network)
    builder = tfds.builder("tiny_pictures")
    for source in (builder, f"tfds:{builder.data_dir}"):
        assert load(source, image_size=12).fingerprint == expected


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
    unreachable = Mock(side_effect=OSError("name resolution failed"))
    monkeypatch.setattr("tensorflow_datasets.core.DatasetBuilder.download_and_prepare", unreachable)
    with pytest.raises(DataError, match=r"not prepared on this machine.*name resolution failed.*TFDS_DATA_DIR"):
        load("tfds:tiny_pictures", image_size=12)


def test_without_a_network_no_download_is_tried_again(tmp_path, monkeypatch):
    from tensorflow_datasets.core.download import downloader

    download = Mock()
    monkeypatch.setattr("tensorflow_datasets.core.DatasetBuilder.download_and_prepare", download)
    closed = {"http://127.0.0.1:9/images.zip": None, "http://127.0.0.1:9/labels.zip": None}
    builder = define("OfAServer", pictures(), {}, url_infos=closed)(data_dir=str(tmp_path))
    with pytest.raises(DataError, match=r"'of_a_server' is not prepared.*can't be reached.*TFDS_DATA_DIR"):
        load(builder, image_size=12)
    assert not download.called
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "images.zip").write_bytes(b"downloaded earlier")
    usual, tried = downloader.MAX_RETRIES, []
    download.side_effect = lambda: tried.append(downloader.MAX_RETRIES)
    with pytest.raises(DataError, match="no training split"):  # nothing was prepared
        load(builder, image_size=12)
    assert (tried, downloader.MAX_RETRIES > 0, usual) == ([0], True, downloader.MAX_RETRIES)


def test_an_unknown_name_is_short_in_python_too():
    with pytest.raises(DataError) as caught:
        load("tfds:oxford_iiit_pett")
    assert "closest names are oxford_iiit_pet," in str(caught.value)
    assert len("".join(traceback.format_exception(caught.value)).splitlines()) < 40


def test_names_are_checked_without_keras():
    code = (
        "import sys\n"
        "from vit_keras.data.loading import check_exists\n"
        "from vit_keras.errors import DataError\n"
        "for name in ('emoji', 'tfds:mnist', 'oxford_iiit_pet:4.0.0', '.'):\n"
        "    check_exists(name)\n"
        "for name in ('emojis', 'tfds:oxford_iiit_pett', 'someone:data', './nowhere', ''):\n"
        "    try:\n"
        "        check_exists(name)\n"
        "    except DataError:\n"
        "        continue\n"
        "    raise AssertionError(name)\n"
        "assert not {'keras', 'tensorflow'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
