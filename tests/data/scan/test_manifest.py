import csv
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from vit_keras.data.scan.columns import Columns
from vit_keras.data.scan.inspection import Limits, inspect
from vit_keras.data.scan.listing import Listing, list_folder
from vit_keras.data.scan.manifest import MANIFEST, QUARANTINE, Quarantined, build_manifest, format_rows, write_manifest
from vit_keras.errors import StorageError, TooManyBadFilesError

HEADER = {"format": 1}


def built(root, folder=None, **options):
    """The manifest of a folder, made without another process."""
    listing = list_folder(root, **options)
    columns = Columns(len(listing.paths))
    for index, path in enumerate(listing.paths):
        columns.put(index, inspect(root / path, Limits()))
    manifest = build_manifest(listing, columns, folder)
    if folder is not None:
        folder.mkdir(exist_ok=True)
        write_manifest(manifest, HEADER, format_rows(listing, columns), folder)
    return manifest


def spoil(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"broken")


def rows_of(folder):
    with (folder / QUARANTINE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_usable_files_keep_their_order_labels_and_columns(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    spoil(root, "cat/01.png", "dog/00.png")
    manifest = built(root)
    assert manifest.paths == [f"cat/0{n}.png" for n in (0, 2, 3)] + [f"dog/0{n}.png" for n in (1, 2, 3)]
    assert manifest.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(manifest) == len(manifest.columns.sha256) == len(manifest.columns.formats) == 6
    for index, path in enumerate(manifest.paths):
        assert manifest.columns.row(index) == inspect(root / path, Limits())
    assert [item.path for item in manifest.quarantined] == ["cat/01.png", "dog/00.png"]
    assert manifest.quarantined[1].class_name == "dog"


def test_notes_are_counted(make_folder):
    root = make_folder({"cat": 2, "dog": 2})
    Image.new("RGBA", (9, 9)).save(root / "cat" / "a.png")
    Image.new("CMYK", (9, 9)).save(root / "cat" / "b.jpg")
    Image.new("RGBA", (9, 9)).save(root / "cat" / "c.jpg", "PNG")
    spoil(root, "cat/01.png")
    manifest = built(root)
    assert manifest.notes == {
        "transparent, put on white": 2, "CMYK, converted to RGB": 1, "PNG with the file name suffix of another format": 1,
    }  # fmt: skip
    places = {manifest.paths[index]: notes for index, notes in manifest.columns.notes.items()}
    assert set(places) == {"cat/a.png", "cat/b.jpg", "cat/c.jpg"}
    assert len(places["cat/c.jpg"]) == 2


def test_the_fingerprint_is_of_names_labels_and_contents(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    seen = [built(root).fingerprint]
    os.utime(root / "cat" / "00.png", ns=(1, 1))
    spoil(root, "cat/broken.png")
    assert built(root).fingerprint == seen[0]
    for change in (
        lambda: (root / "cat" / "00.png").rename(root / "cat" / "000.png"),
        lambda: (root / "cat" / "000.png").rename(root / "dog" / "000.png"),
        lambda: (root / "dog" / "000.png").write_bytes((root / "dog" / "01.png").read_bytes()),
        lambda: (root / "dog").rename(root / "wolf"),
    ):
        change()
        seen.append(built(root).fingerprint)
    assert len(set(seen)) == 5


def test_the_written_manifest_has_a_line_a_file_and_rejected_files_are_quarantined(make_folder, tmp_path):
    root = make_folder({"train/a": 2, "train/b": 2, "val/a": 2})
    spoil(root, "val/a/00.png", "train/b/x.heic", "val/a/in/y.jxl")
    manifest = built(root, tmp_path / "kept")
    assert sorted((item.path, item.class_name, item.split) for item in manifest.quarantined) == [
        ("train/b/x.heic", "b", "train"), ("val/a/00.png", "a", "validation"), ("val/a/in/y.jxl", "a", "validation"),
    ]  # fmt: skip
    header, *rows = [json.loads(line) for line in (tmp_path / "kept" / MANIFEST).read_text("ascii").splitlines()]
    assert header == HEADER
    assert [(row["path"], row["class"], row["split"]) for row in rows] == [
        ("train/a/00.png", "a", "train"), ("train/a/01.png", "a", "train"), ("train/b/00.png", "b", "train"),
        ("train/b/01.png", "b", "train"), ("val/a/00.png", "a", "validation"), ("val/a/01.png", "a", "validation"),
    ]  # fmt: skip
    assert rows[0] | inspect(root / "train" / "a" / "00.png", Limits()) == rows[0]
    assert "reason" in rows[4]
    assert "sha256" not in rows[4]


def test_no_cell_of_the_quarantine_list_is_run_by_a_spreadsheet(tmp_path):
    bad = tuple(
        Quarantined(f'{first}HYPERLINK("x").png', f"{first}class", "", f"{first}reason") for first in "=+-@\t\r"
    )
    listing = Listing(tmp_path, ("a", "b"), [], np.zeros(0, "int32"), np.zeros(0, "int8"))
    manifest = build_manifest(listing, Columns(0), tmp_path)
    write_manifest(type(manifest)(**{**vars(manifest), "quarantined": bad}), HEADER, iter(()), tmp_path)
    found = [(row["path"], row["class"], row["reason"]) for row in rows_of(tmp_path)]
    assert found == [(f"'{each.path}", f"'{each.class_name}", f"'{each.reason}") for each in bad]


def test_any_name_is_read_back_from_the_quarantine_list(make_folder, tmp_path):
    root = make_folder({"cat": 2, "dog": 2})
    names = sorted(["a,b.png", 'quo"te.png', "n\new.png", "<script>.png", "été 猫.png"])
    spoil(root, *(f"cat/{name}" for name in names))
    expected = [f"cat/{name}" for name in names]
    if sys.platform == "linux":  # whose names may not be text
        spoil(root, f"dog/{os.fsdecode(bytes([0xE9]))}.png")
        expected.append(r"dog/\udce9.png")
    built(root, tmp_path / "kept")
    rows = rows_of(tmp_path / "kept")
    assert [row["path"] for row in rows] == expected
    assert rows[0]["class"] == "cat"
    assert rows[0]["reason"].startswith("not a supported image")


def test_a_disk_that_is_full_leaves_the_old_files(make_folder, tmp_path, monkeypatch):
    root = make_folder({"cat": 2, "dog": 2})
    built(root, tmp_path / "kept")
    before = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    (root / "cat" / "00.png").unlink()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        StorageError, match=r"kept.manifest\.jsonl: could not be written.*No space left.*VIT_KERAS_CACHE"
    ):
        built(root, tmp_path / "kept")
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()} == before


def test_one_bad_file_is_always_let_pass_and_one_in_a_hundred_but_for_on_error_error(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    built(root).check_limit(on_error="error")
    spoil(root, "cat/x.png")
    built(root).check_limit()
    with pytest.raises(TooManyBadFilesError, match=r"(?s)1 of 7 files .*on_error='error' allows none.*x\.png"):
        built(root).check_limit(on_error="error")
    spoil(root, "cat/y.png")
    with pytest.raises(TooManyBadFilesError, match=r"2 of 8 files can't be read, more than max_error_rate=0.01 allows"):
        built(root).check_limit()


def test_the_limit_names_ten_files_the_share_the_list_and_the_way_out(make_folder, tmp_path):
    root = make_folder({"cat": 10, "dog": 10})
    spoil(root, *(f"cat/broken_{index:02d}.png" for index in range(12)))
    with pytest.raises(TooManyBadFilesError) as caught:
        built(root, tmp_path / "kept").check_limit(max_error_rate=0.3)
    message = str(caught.value)
    assert "12 of 32 files can't be read, more than max_error_rate=0.3 allows" in message
    assert message.count("broken_") == 10
    assert f"{root / 'cat' / 'broken_09.png'}: not a supported image" in message
    assert str(tmp_path / "kept" / QUARANTINE) in message
    assert "raise max_error_rate to 0.375." in message
    built(root).check_limit(max_error_rate=0.375)


@pytest.mark.parametrize(
    ("counts", "bad", "message"),
    [
        ({"cat": 3}, "dog/x.png", r"no image of dog can be read"),
        ({"cat": 3}, "dog/x.heic", r"no image of dog can be read"),
        ({"train/a": 3, "train/b": 3, "test/a": 3}, "test/b/x.png", r"test: no image of b can be read"),
    ],
)
def test_a_class_of_which_nothing_is_left_is_named_whatever_the_limit(make_folder, counts, bad, message):
    root = make_folder(counts)
    spoil(root, f"{next(iter(counts))}/a.png", bad)
    with pytest.raises(TooManyBadFilesError, match=message) as caught:
        built(root).check_limit(max_error_rate=1.0)
    assert bad in str(caught.value)
    assert "a.png" not in str(caught.value)


def test_a_million_files_take_little():
    columns = Columns(1_000_000)
    assert sum(value.nbytes for value in vars(columns).values() if isinstance(value, np.ndarray)) < 100_000_000
