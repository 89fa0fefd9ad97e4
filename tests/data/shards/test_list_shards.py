"""Shards from the user's side: the same data as of a folder, checked, loaded, trained on."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.shards.conftest import COLORS, encode
from data.shards.test_parquet_index import make_table
from data.shards.test_tfrecord_index import write_records

import vit_keras as vk
from vit_keras.data import Augmentation, ReadOptions
from vit_keras.data.images.decode import FilePart
from vit_keras.data.shards.list_shards import list_shards
from vit_keras.data.shards.shard_files import find_shards
from vit_keras.data.tables.options import TableOptions
from vit_keras.errors import CorruptFileError, DataError, InvalidArgumentError

NAMES = list(COLORS)


def check_colors(data):
    """Whether the color of each image is that of its class."""
    for split in data.splits.values():
        for index, label in enumerate(split.labels):
            assert tuple(split.image(index)[4, 4]) == COLORS[data.class_names[label]]


@pytest.fixture
def make_kind(tmp_path, make_samples):
    """Returns a maker of shards of a kind: two of training images, one of test images; classes by name."""

    def make(kind):
        root = tmp_path / kind
        root.mkdir()
        for split, first, count in (("train-0", 0, 12), ("train-1", 12, 12), ("test-0", 24, 6)):
            images = [
                (NAMES[number % 3], encode(NAMES[number % 3], 8 + number)) for number in range(first, first + count)
            ]
            if kind == "tar":
                make_samples(
                    first, count, root / f"{split}.tar", json=lambda name: json.dumps({"class_name": name}).encode()
                )
            elif kind == "tfrecord":
                rows = [{"image/encoded": image, "image/class/label": name.encode()} for name, image in images]
                write_records(root / f"{split}.tfrecord", *rows)
            else:
                labels = [NAMES.index(name) for name, _ in images]
                pq.write_table(make_table([image for _, image in images], label=labels), root / f"{split}.parquet")
        return root

    return make


@pytest.mark.parametrize("kind", ["tar", "tfrecord", "parquet"])
def test_shards_of_each_kind_load_with_their_splits_and_labels(make_kind, kind):
    data = vk.data.load(make_kind(kind), image_size=10, batch_size=4)
    assert data.sizes == {"train": 21, "test": 6, "validation": 3}
    assert data.class_names == tuple(
        sorted(NAMES) if kind == "tfrecord" else NAMES
    )  # as numbered, where there are numbers
    check_colors(data)
    found = sorted(
        data.splits[name].files.read(index)
        for name in ("train", "validation")
        for index in range(len(data.splits[name]))
    )
    assert found == sorted(encode(NAMES[number % 3], 8 + number) for number in range(24))


def test_batches_of_shards_are_the_same_from_any_step_on(make_samples, tmp_path):
    data = vk.data.load(make_samples(0, 24, tmp_path / "a.tar"), image_size=10, batch_size=4)
    whole = list(data.training_batches(epochs=2, augmentation="light"))
    resumed = list(data.training_batches(epochs=1, first_epoch=1, augmentation="light"))
    assert len(whole) == 2 * len(resumed) == 2 * data.steps_per_epoch
    for (images, labels), (again, same) in zip(whole[data.steps_per_epoch :], resumed, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, same)


def test_a_process_reads_only_the_bytes_of_its_own_rows(make_samples, tmp_path, monkeypatch):
    for number in range(3):
        make_samples(12 * number, 12, tmp_path / "shards" / f"{number}.tar")
    data = vk.data.load(tmp_path / "shards", image_size=10, batch_size=4)
    read, parts = FilePart.read, []
    monkeypatch.setattr(FilePart, "read", lambda self: parts.append(self[:1] + self[3:5]) or read(self))

    def read_epoch(*shard):
        parts.clear()
        augmentation = Augmentation(crop_scale=(0.5, 1.0))
        for _ in replace(data, shard=shard).training_batches(epochs=1, augmentation=augmentation):
            pass
        return sorted(parts)

    one, first, second = read_epoch(0, 1), read_epoch(0, 2), read_epoch(1, 2)
    assert len(one) == data.steps_per_epoch * 4
    assert sorted(first + second) == one
    assert len(first) == len(second)
    assert {path for path, _, _ in first} == {path for path, _, _ in second}  # by offset, of all shards
    assert sum(length for _, _, length in first + second) == sum(length for _, _, length in one)


def test_names_of_numbers_are_read_from_a_file_next_to_the_shards(make_samples, tmp_path):
    shards = find_shards(make_samples(0, 12, tmp_path / "plain" / "a.tar"))
    assert list_shards(shards).class_names == ("0", "1", "2")
    (tmp_path / "plain" / "classes.txt").write_text("\n".join(NAMES))
    listing = list_shards(shards)
    assert listing.class_names == tuple(NAMES)
    assert listing.labels.tolist() == [number % 3 for number in range(12)]
    assert "class names of the numbers in cls read from classes.txt, and ordered by number" in listing.decisions
    assert list_shards(shards, class_names=("cat", "dog", "zebra")).labels.tolist()[:3] == [2, 0, 1]
    (tmp_path / "plain" / "classes.txt").unlink()
    (tmp_path / "plain" / "labels.json").write_text(json.dumps({name: number for number, name in enumerate(NAMES)}))
    assert list_shards(shards).class_names == tuple(NAMES)


def test_a_tar_of_a_folder_has_its_classes_and_splits(make_tar):
    members = {
        f"photos/{'test' if number % 5 == 0 else 'train'}/{NAMES[number % 3]}/{number}.png": encode(NAMES[number % 3])
        for number in range(30)
    }
    listing = list_shards(find_shards(make_tar(members)))
    assert listing.class_names == tuple(sorted(NAMES))
    assert [listing.class_names[label] for label in listing.labels] == [NAMES[number % 3] for number in range(30)]
    assert listing.splits.tolist() == [2 if number % 5 == 0 else 0 for number in range(30)]


def test_a_broken_image_is_left_out_and_named_and_a_second_check_reads_nothing(make_samples, tmp_path, monkeypatch):
    path = make_samples(0, 12, tmp_path / "a.tar")
    content = bytearray(path.read_bytes())
    start = content.index(b"IHDR")
    content[start : start + 8] = bytes(8)
    path.write_bytes(content)
    checkup = vk.data.check(path, report=tmp_path / "report.html")
    assert [(item.path, item.class_name) for item in checkup.manifest.quarantined] == [("a.tar/0000.png", "0")]
    assert "data:image" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr("vit_keras.data.scan.scan._Inspector", None)
    monkeypatch.setitem(vk.data.shards.list_shards._INDEXERS, "tar", None)
    assert vk.data.check(path).manifest.fingerprint == checkup.manifest.fingerprint


def test_a_shard_that_changes_after_loading_is_noticed(make_samples, tmp_path):
    path = make_samples(0, 12, tmp_path / "a.tar")
    data = vk.data.load(path, image_size=8)
    make_samples(3, 12, path)
    with pytest.raises(DataError, match=r"changed since it was checked"):
        data.splits["train"].files.read(0)
    assert vk.data.load(path, image_size=8).splits["train"].files.read(0)


def test_missing_labels_other_classes_and_damage_are_named(make_samples, make_tar, tmp_path):
    members = {"1.png": encode("cat"), "1.cls": b"0", "2.png": encode("dog"), "3.png": encode("dog"), "3.cls": b"1"}
    with pytest.raises(DataError, match=r"1 image of 3 can't be used:\n  .*shard.tar, 2.png: no label"):
        vk.data.load(make_tar(members), image_size=8)
    with pytest.raises(DataError, match=r"not clear what labels the images: the fields are id, .*label_column"):
        vk.data.load(make_tar({f"{n}.{e}": c for n in range(30) for e, c in (("png", encode("cat")), ("json", b'{"id": "%d"}' % n))}), image_size=8)  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="image_dir and contained are for tables"):
        vk.data.load(make_tar(members), image_size=8, image_dir=tmp_path)
    path = make_samples(0, 12, tmp_path / "cut.tar")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CorruptFileError, match=r"cut.tar: truncated"):
        vk.data.load(path, image_size=8)
    for name, order in (("train-0", ["a", "b"]), ("test-0", ["b", "a"])):
        features = {"label": {"names": order, "_type": "ClassLabel"}}
        table = make_table([encode("cat"), encode("dog")], features, label=pa.array([0, 1]))
        (tmp_path / "two").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "two" / f"{name}.parquet")
    with pytest.raises(DataError, match="state different classes in label"):
        vk.data.load(tmp_path / "two", image_size=8)


def test_fields_of_json_are_labels_of_any_task(make_tar):
    rows = [{"age": number / 2, "tags": NAMES[: number % 3 + 1]} for number in range(12)]
    path = make_tar({
        f"{number}.{suffix}": content for number, row in enumerate(rows)
        for suffix, content in (("png", encode("cat", 8 + number)), ("json", json.dumps(row).encode()))
    })  # fmt: skip
    shards = find_shards(path)
    several = list_shards(shards)
    assert (several.task, several.class_names) == ("multi_label", tuple(sorted(NAMES)))
    assert several.labels.sum(axis=1).tolist() == [1, 2, 3] * 4
    ages = list_shards(shards, options=TableOptions(label_column="age"))
    assert ages.task == "regression"
    assert ages.labels[:, 0].tolist() == [each["age"] for each in rows]


def test_without_labels_all_images_are_read(make_samples, make_tar, tmp_path):
    rule = vk.data.Preprocessing(image_size=(8, 8))
    data = vk.data.load_unlabeled(
        make_tar({f"{number}.png": encode("cat", 8 + number) for number in range(20)}), preprocessing=rule
    )
    assert (data.task, data.sizes) == ("unlabeled", {"train": 19, "validation": 1})
    labeled = vk.data.load_unlabeled(make_samples(0, 20, tmp_path / "b.tar"), preprocessing=rule)
    assert (labeled.task, labeled.class_names) == ("single_label", ("0", "1", "2"))


def test_stated_splits_and_options_of_reading_hold_for_shards(make_samples, tmp_path):
    for name, first in (("a", 0), ("b", 12)):
        make_samples(first, 12, tmp_path / "s" / f"{name}.tar")
    data = vk.data.load(
        tmp_path / "s", image_size=8, reading=ReadOptions(splits={"a": "train", "b": "test"}, min_side=9)
    )
    assert data.sizes == {"train": 8, "test": 12, "validation": 3}
    assert "shards read as splits: 1 of train (a.tar), 1 of test (b.tar)" in data.decisions
