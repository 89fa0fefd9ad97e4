from pathlib import Path

import pytest

from vit_keras.data.shards.shard_files import find_shards, name_shards
from vit_keras.errors import ClassLayoutError, DataError


@pytest.fixture
def make_files(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return make


def list_names(source, splits=None):
    return [(shard.path.name, shard.split) for shard in find_shards(source, splits)]


def test_patterns_lists_and_folders_name_shards_in_order(make_files, monkeypatch):
    root = make_files("b-08.tar", "b-09.tar", "b-10.tar", "readme.txt")
    expected = [("b-08.tar", ""), ("b-09.tar", ""), ("b-10.tar", "")]
    monkeypatch.chdir(root)
    for source in ("b-{08..10}.tar", "b-{08,09,10}.tar", "b-*.tar", ["b-08.tar", Path("b-09.tar"), "b-10.tar"], root):
        assert list_names(source) == expected
    assert name_shards("b-{08..10}.tar")
    assert not name_shards(root)
    with pytest.raises(DataError, match=r"2 of 5 shards are missing: b-11.tar, b-12.tar"):
        find_shards("b-{08..12}.tar")
    with pytest.raises(DataError, match=r"there is no such file: no.tar"):
        find_shards("no.tar")


def test_splits_are_those_of_folders_or_names_or_stated(make_files):
    root = make_files(
        "x/pets-train-0000.tar", "x/pets-val-0000.tar", "y/train/0.tar", "y/test/0.tar", "z/a0.tar", "z/b0.tar"
    )
    assert list_names(root / "x") == [("pets-train-0000.tar", "train"), ("pets-val-0000.tar", "validation")]
    assert list_names(root / "y") == [("0.tar", "test"), ("0.tar", "train")]
    assert list_names(root / "z", {"a": "train", "b": "test"}) == [("a0.tar", "train"), ("b0.tar", "test")]
    assert list_names(root / "x", {}) == [("pets-train-0000.tar", ""), ("pets-val-0000.tar", "")]
    assert list_names(root / "x" / "pets-val-0000.tar") == [("pets-val-0000.tar", "")]
    given = {"train": str(root / "z" / "a0.tar"), "val": [root / "z" / "b0.tar"]}
    assert list_names(given) == [("a0.tar", "train"), ("b0.tar", "validation")]


def test_shards_of_several_kinds_or_of_unknown_splits_are_an_error(make_files):
    with pytest.raises(DataError, match=r"several kinds, TFRecord \(a.tfrecord\), tar \(a.tar\)|several kinds, tar"):
        find_shards(make_files("a.tar", "a.tfrecord"))


def test_a_shard_of_no_split_next_to_those_of_splits_is_an_error(make_files):
    with pytest.raises(
        ClassLayoutError, match=r"1 shard are of no split, such as more.tar, but others are of train, validation"
    ):
        find_shards(make_files("train-0.tar", "val-0.tar", "more.tar"))
    with pytest.raises(ClassLayoutError, match=r"names no split of more.tar"):
        find_shards(make_files(), {"train": "train", "val": "validation"})


def test_a_folder_with_image_files_is_no_folder_of_shards(make_files):
    assert find_shards(make_files("notes.tar", "train/cat/1.jpg")) is None
    assert find_shards("emoji") is None
    assert find_shards(make_files("tables.csv") / "tables.csv") is None
