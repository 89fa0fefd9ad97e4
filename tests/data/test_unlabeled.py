import csv
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vit_keras.data import ImageData, Preprocessing, ReadOptions, Split, load, load_unlabeled
from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError

pytestmark = pytest.mark.any_backend
SIZE = Preprocessing(image_size=(16, 16))


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (40, 16, 16, 3), "uint8")


@pytest.fixture
def flat(make_folder):
    """A folder of 12 images, and 4 more two folders below."""
    root = make_folder({"all": 12, "deep": 4}) / "all"
    shutil.move(root.parent / "deep", root / "2025" / "05")
    return root


def kinds(data):
    return data.task, data.sizes, data.class_names


def pixels(data):
    """Returns the bytes of all images, sorted."""
    return sorted(split.image(index).tobytes() for split in data.splits.values() for index in range(len(split)))


def test_a_folder_is_read_at_any_depth(flat):
    data = load_unlabeled(flat, preprocessing=SIZE)
    assert kinds(data) == ("unlabeled", {"train": 15, "validation": 1}, ())
    assert data.image_shape == (16, 16, 3)
    batch, labels = next(iter(data.train))
    assert batch.shape == (8, 16, 16, 3)
    assert not labels.numpy().any()


def test_several_folders_and_files_are_read_once_each(flat, tmp_path):
    Image.new("RGB", (20, 20), (1, 2, 3)).save(tmp_path / "one.png")
    data = load_unlabeled([flat, str(tmp_path / "one.png"), flat / "2025"], preprocessing=SIZE)
    assert sum(data.sizes.values()) == 17
    assert "images that are listed twice are read once: 4" in data.decisions


def test_class_folders_give_labels_that_are_said_to_measure_only(image_folder):
    data = load_unlabeled(image_folder, preprocessing=SIZE)
    assert kinds(data) == ("single_label", {"train": 10, "validation": 1}, ("cat", "dog"))
    assert "the labels (2 classes) are not learned; they only measure the features" in data.decisions


def test_labels_of_a_part_of_the_images_are_not_used(image_folder):
    Image.new("RGB", (20, 20), (1, 2, 3)).save(image_folder / "loose.png")
    data = load_unlabeled(image_folder, preprocessing=SIZE)
    assert kinds(data) == ("unlabeled", {"train": 11, "validation": 1}, ())
    assert "11 of 12 images are labeled by folders or a table: these labels are not used" in data.decisions


def test_a_table_of_paths_needs_no_labels(flat, tmp_path):
    paths = sorted(flat.rglob("*.png"))
    with (tmp_path / "paths.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path"], *([path] for path in paths)])
    (tmp_path / "paths.txt").write_text("\n".join(map(str, paths)))
    for name in ("paths.csv", "paths.txt"):
        data = load_unlabeled(tmp_path / name, preprocessing=SIZE)
        assert kinds(data) == ("unlabeled", {"train": 15, "validation": 1}, ())


def test_a_table_with_labels_keeps_them_and_a_wrong_column_is_an_error(image_folder, tmp_path):
    rows = [(path, path.parent.name) for path in sorted(image_folder.rglob("*.png"))]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    assert load_unlabeled(tmp_path / "labels.csv", preprocessing=SIZE).class_names == ("cat", "dog")
    with pytest.raises(DataError, match="klass"):
        load_unlabeled(tmp_path / "labels.csv", preprocessing=SIZE, label_column="klass")


@pytest.mark.parametrize(
    "make",
    [
        lambda images: images,
        lambda images: list(images),
        lambda images: tf.data.Dataset.from_tensor_slices(images).batch(7),
        lambda images: tf.data.Dataset.from_tensor_slices({"image": images}),
        lambda images: {"train": images[:30], "validation": images[30:]},
    ],
    ids=["array", "list", "batches", "mappings", "splits"],
)
def test_images_of_a_program_are_all_used(images, make):
    data = load_unlabeled(make(images), preprocessing=SIZE)
    assert kinds(data) == ("unlabeled", {"train": 38, "validation": 2}, ())
    assert pixels(data) == sorted(image.tobytes() for image in images)


@pytest.mark.parametrize("as_dataset", [False, True])
def test_labels_of_a_program_are_kept_where_they_can_be_read(images, as_dataset):
    labels = np.arange(40) % 2
    pair = tf.data.Dataset.from_tensor_slices((images, labels)) if as_dataset else (images, labels)
    assert kinds(load_unlabeled(pair, preprocessing=SIZE)) == (
        "single_label",
        {"train": 38, "validation": 2},
        ("0", "1"),
    )


def test_labels_that_stand_for_none_are_ignored(images):
    data = load_unlabeled((images, np.full(40, -1)), preprocessing=SIZE)
    assert kinds(data) == ("unlabeled", {"train": 38, "validation": 2}, ())
    assert any("the labels can't be used and are ignored" in decision for decision in data.decisions)


def test_named_sets_and_loaded_data_leave_out_their_test_images():
    loaded = load("emoji", image_size=16, limit=50)
    data = load_unlabeled(loaded, preprocessing=SIZE)
    assert "test images left out: 50" in data.decisions
    own = {image.tobytes() for name in ("train", "validation") for image in loaded.splits[name].images}
    assert set(pixels(data)) == own


def test_a_set_of_another_library_is_known_by_its_name():
    data = load_unlabeled("digits", preprocessing=Preprocessing(image_size=(8, 8), channels=1))
    assert (data.class_names, data.sizes) == (tuple("0123456789"), {"train": 950, "validation": 50})
    assert "test images left out: 797" in data.decisions  # of 1,797


def test_a_folder_named_test_beside_train_is_left_out(make_folder):
    root = make_folder({"train": 6, "test": 4, "more": 2})
    data = load_unlabeled(root, preprocessing=SIZE)
    assert sum(data.sizes.values()) == 8
    assert "test images left out: 4" in data.decisions


def test_exact_copies_are_used_once_and_the_same_images_are_held_out_each_time(images):
    data = load_unlabeled(np.concatenate([images, images[:5]]), preprocessing=SIZE, seed=3)
    assert pixels(data) == sorted(image.tobytes() for image in images)
    assert "exact copies left out: 5 of 45 images" in data.decisions
    again = load_unlabeled(np.concatenate([images, images[:5]]), preprocessing=SIZE, seed=3)
    other = load_unlabeled(np.concatenate([images, images[:5]]), preprocessing=SIZE, seed=4)
    assert data.fingerprint == again.fingerprint != other.fingerprint


def test_at_most_1000_images_are_held_out_and_a_limit_is_one_of_training_images(rng):
    images = rng.integers(0, 256, (30_000, 2, 2, 3), "uint8")
    data = load_unlabeled(
        images, preprocessing=Preprocessing(image_size=(2, 2)), limit=77, reading=ReadOptions(min_side=2)
    )
    assert data.sizes == {"train": 77, "validation": 1000}


def test_damaged_files_are_noted(flat):
    (flat / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    data = load_unlabeled(flat, preprocessing=SIZE, reading=ReadOptions(max_error_rate=0.1))
    assert sum(data.sizes.values()) == 16
    assert any("broken.png" in note for note in data.notes)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((1, 16, 16, 3), "uint8"), "there is one image"),
        (np.zeros((6, 16, 16, 3), "uint8"), "all 6 images are equal"),
        (np.zeros((0, 16, 16, 3), "uint8"), "no images"),
        (np.zeros((6, 4, 4, 3), "uint8"), "4x4 px are too small: each side must have 8 px"),
        ("no/such/folder", "no such folder"),
        (["no/such/folder", "nor/this"], "no/such/folder, nor/this: there is no such folder or file"),
    ],
)
def test_useless_sources_are_refused(source, message):
    with pytest.raises(DataError, match=message):
        load_unlabeled(source, preprocessing=SIZE)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(EmptyDatasetError, match=r"there is no image; expected .*, found 1 \.md"):
        load_unlabeled(tmp_path, preprocessing=SIZE)


def test_options_of_tables_are_refused_for_arrays(images):
    with pytest.raises(InvalidArgumentError, match="only for tables"):
        load_unlabeled(images, preprocessing=SIZE, image_column="path")


def test_unlabeled_data_is_shown_without_classes(images):
    split = Split(images, np.zeros(40, "int32"))
    data = ImageData(name="mine", class_names=(), splits={"train": split, "validation": split}, task="unlabeled")
    assert repr(data) == "ImageData(mine: 40 train, 40 validation images of 16x16x3, no labels)"
    assert "<img" in data._repr_html_()
