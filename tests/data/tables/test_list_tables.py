import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tables.list_tables import list_tables
from vit_keras.data.tables.options import TableOptions
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError, InvalidArgumentError

SPLIT = ("path", "label", "split")


def classes(listing):
    """Returns the class of each file."""
    names = (listing.class_names[label] for label in listing.labels)
    return dict(zip(listing.paths, names, strict=True))


@pytest.mark.parametrize(
    ("header", "name", "delimiter"),
    [(("path", "label"), "labels.csv", ","), (("File", " CLASS "), "labels.CSV", ","), (("filename", "category"), "labels.tsv", "\t")],
)  # fmt: skip
def test_a_table_of_paths_and_labels_is_read(table, rows, header, name, delimiter, monkeypatch):
    monkeypatch.chdir(table(rows, header, name, delimiter).parent)
    data = load(name, image_size=8)
    assert data.class_names == ("cat", "dog")
    assert data.sizes == {"train": 8, "validation": 2, "test": 2}
    for split in data.splits.values():
        for index, label in enumerate(split.labels):
            assert (split.image(index)[0, 0, 0] // 20) % 2 == (label == 0)


def test_a_byte_order_mark_is_skipped_and_a_broken_image_left_out_and_noted(table, rows):
    path = table([*rows, ("pictures/broken.png", "cat")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (path.parent / "pictures" / "broken.png").write_bytes(b"broken")
    assert len(list_tables(path).paths) == 13
    assert "broken.png" in " ".join(load(path, image_size=8).notes)


def test_a_column_split_states_the_splits(table, rows):
    parts = ["train"] * 6 + ["val"] * 2 + ["Test"] * 4
    path = table([(*row, part) for row, part in zip(rows, parts, strict=True)], SPLIT)
    assert load(path, image_size=8).sizes == {"train": 6, "validation": 2, "test": 4}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("pictures/99.png", "cat"), "row 14, 'pictures/99.png': there is no such file$"),
        (("pictures/00.PNG", "cat"), "row 14.*there is no such file; there is '00.png'"),
        (("../secret.png", "cat"), r"row 14, '\.\./secret\.png': there is no such file"),
        (("http://x.org/a.png", "cat"), "row 14.*an address on the network; download"),
        (("pictures/00.png", "dog"), "row 14.*the same file as in row 2"),
        (("pictures/../pictures/00.png", "dog"), "row 14.*the same file as in row 2"),
        (("", "cat"), "row 14.*no path"),
        (("pictures", "cat"), "row 14.*a folder, not a file"),
        (("pictures/01.png", " "), "row 14.*no label; the same file as in row 3"),
        (("pictures/00.png", "cat", "more"), "row 14 has 3 cells, the header 2"),
        (("pictures/00.png",), "row 14 has 1 cell, the header 2"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_its_number(table, rows, row, message):
    with pytest.raises(DataError, match=message):
        list_tables(table([*rows, row]))


def test_bad_rows_are_counted_and_ten_listed(table, rows):
    with pytest.raises(DataError, match=r"15 rows can't be used") as caught:
        list_tables(table([*rows, *((f"pictures/no_{index}.png", "cat") for index in range(15))]))
    assert str(caught.value).count("there is no such file") == 10
    assert "and 5 more" in str(caught.value)
    assert "--image-dir" not in str(caught.value)


def test_where_no_file_is_found_the_error_names_the_folder_and_the_option(table, rows, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"No file was found in .*empty, where relative paths start; .*--image-dir"):
        list_tables(table(rows), options=TableOptions(image_dir=tmp_path / "empty"))
    with pytest.raises(DataError, match=r"nowhere: there is no such folder \(image_dir\)"):
        list_tables(table(rows), options=TableOptions(image_dir=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("splits", "label", "kind", "message"),
    [
        (["later"] * 12, "dog", DataError, r"row 2.*the split 'later' is none of train, validation, test"),
        (["train"] * 6 + [""] * 6, "dog", DataError, "6 rows have no split"),
        (["train"] * 11 + ["test"], "owl", ClassLayoutError, r"no training image has the labels owl"),
    ],
)
def test_splits_that_cannot_be_used_are_an_error(table, rows, splits, label, kind, message):
    labeled = [*rows[:11], ("pictures/11.png", label)]
    with pytest.raises(kind, match=message):
        list_tables(table([(*row, split) for row, split in zip(labeled, splits, strict=True)], SPLIT))


def test_labels_that_are_not_classes_are_an_error(table, rows):
    one = [(path, "cat") for path, _ in rows]
    for given, kind, message in (
        ([], EmptyDatasetError, "no rows below the header"),
        (one, ClassLayoutError, r"at least two classes are needed, found cat"),
        ([(one[0][0], "Cat"), *one[1:]], ClassLayoutError, "differ only in case"),
    ):
        with pytest.raises(kind, match=message):
            list_tables(table(given))


def test_paths_start_from_the_folder_of_the_table_or_from_image_dir(folder, table, rows, tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    expected = dict(rows)
    with_parent = shutil.copy(table([(f"../{path}", label) for path, label in rows]), tmp_path / "tables" / "up.csv")
    listing = list_tables(Path(with_parent))
    assert classes(listing) == {f"../{path}": label for path, label in expected.items()}
    assert all((listing.root / path).is_file() for path in listing.paths)
    assert listing.decisions == (f"12 of 12 files are outside {tmp_path / 'tables'}",)
    alone = shutil.copy(table([(Path(path).name, label) for path, label in rows]), tmp_path / "tables" / "names.csv")
    for image_dir in (folder / "pictures", str(folder / "pictures")):
        listing = list_tables(Path(alone), options=TableOptions(image_dir=image_dir))
        assert classes(listing) == {Path(path).name: label for path, label in expected.items()}
        assert listing.decisions == ()
    monkeypatch.chdir(folder)
    assert len(list_tables(Path(alone), options=TableOptions(image_dir="pictures")).paths) == 12


def test_absolute_paths_below_the_folder_are_relative_and_others_stay(folder, table, rows, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(folder / "pictures" / "11.png", elsewhere / "11.png")
    absolute = [(folder / path, label) for path, label in rows[:11]]
    listing = list_tables(table([*absolute, (elsewhere / "11.png", "cat")]))
    assert listing.paths == [*(path for path, _ in rows[:11]), str(elsewhere / "11.png")]
    assert listing.decisions == (f"1 of 12 files are outside {folder}",)
    with pytest.raises(DataError, match=rf"row 13, '{elsewhere}/11.png': outside .*contained=True \(--contained\)"):
        list_tables(folder / "labels.csv", options=TableOptions(contained=True))


def test_links_out_of_the_folder_count_as_outside_and_links_inside_do_not(folder, table, rows, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for index in (10, 11):
        shutil.move(folder / "pictures" / f"{index}.png", elsewhere / f"{index}.png")
    os.symlink(elsewhere / "10.png", folder / "pictures" / "10.png")
    os.symlink(elsewhere, folder / "linked")
    os.symlink(folder / "pictures" / "00.png", folder / "inside.png")
    path = table([*rows[:11], ("linked/11.png", "cat"), ("inside.png", "dog")])
    listing = list_tables(path)
    assert listing.paths[10:] == ["pictures/10.png", "linked/11.png", "inside.png"]
    assert listing.decisions == (f"2 of 13 files are outside {folder}",)
    with pytest.raises(DataError, match=r"2 rows can't be used.*\n.*row 12, .*outside.*\n.*row 13, .*outside"):
        list_tables(path, options=TableOptions(contained=True))


def test_names_without_ending_and_windows_separators_are_found(folder, table, rows):
    bare = [(path.removesuffix(".png"), label) for path, label in rows]
    assert classes(list_tables(table(bare))) == dict(rows)
    assert classes(list_tables(table([(path.replace("/", "\\"), label) for path, label in rows]))) == dict(rows)
    shutil.copy(folder / "pictures" / "00.png", folder / "pictures" / "00.JPG")
    with pytest.raises(
        DataError,
        match=r"row 2, 'pictures/00': several files have this name: pictures/00\.JPG, pictures/00\.png; state the path",
    ):
        list_tables(table(bare))
    (folder / "pictures" / "00").write_bytes(b"")
    assert "pictures/00" in list_tables(table(bare)).paths  # the very name comes first


def test_the_column_that_names_most_files_is_that_of_the_images(folder, table, rows):
    for index in range(12):
        (folder / "pictures" / f"{index:02d}.png").rename(folder / "pictures" / f"{index}.png")
    numbered = [(index % 2, index, label) for index, (_, label) in enumerate(rows)]
    listing = list_tables(
        table(numbered, ("odd", "number", "label")), options=TableOptions(image_dir=folder / "pictures")
    )
    assert listing.paths == [f"{index}.png" for index in range(12)]
    assert listing.decisions == ("column number read as image files",)


@pytest.mark.parametrize("ending", ["", ".png"])
def test_bare_names_are_found_in_direct_subfolders_where_they_are_unique(folder, table, rows, ending):
    (folder / "more").mkdir()
    shutil.move(folder / "pictures" / "11.png", folder / "more")
    path = table([(f"{index:02d}{ending}", label) for index, (_, label) in enumerate(rows)])
    listing = list_tables(path)
    assert listing.paths == [*(path for path, _ in rows[:11]), "more/11.png"]
    assert listing.decisions == ("12 of 12 files are in subfolders that the table does not name",)
    shutil.copy(folder / "pictures" / "00.png", folder / "more")
    with pytest.raises(
        DataError, match=r"row 2, .*several files have this name: more/00\.png, pictures/00\.png; state the path"
    ):
        list_tables(path)
    (folder / "more" / "deep").mkdir()
    shutil.move(folder / "pictures" / "01.png", folder / "more" / "deep")
    with pytest.raises(DataError, match=r"row 3, .*there is no such file"):
        list_tables(path)


def test_one_table_per_split(folder, table, rows, monkeypatch):
    monkeypatch.chdir(folder)
    for name, part in (("a.csv", rows[:8]), ("b.tsv", rows[8:10]), ("c.csv", rows[10:])):
        table(part, name=name, delimiter="\t" if name == "b.tsv" else ",")
    listing = list_tables({"train": "a.csv", "dev": Path("b.tsv"), "test": "c.csv"})
    assert classes(listing) == dict(rows)
    assert [SPLITS[split] for split in listing.splits] == ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    assert listing.decisions == ("tables read as splits: train as train, dev as validation, test as test",)
    data = load({"train": "a.csv", "test": "c.csv"}, image_size=8, split=(0.25, 0.25))
    assert data.sizes == {"train": 6, "validation": 2, "test": 2}
    assert data.name == "a.csv, c.csv"
    table(rows[7:9], name="b.tsv", delimiter="\t")
    with pytest.raises(DataError, match=r"b\.tsv, row 2, 'pictures/07\.png': the same file as in a\.csv, row 9"):
        list_tables({"train": "a.csv", "validation": "b.tsv"})
    table(rows[8:10], ("path", "kind"), "b.tsv", "\t")
    with pytest.raises(DataError, match=r"b\.tsv: there is no column label, which a\.csv has. The columns are 'path'"):
        list_tables({"train": "a.csv", "validation": "b.tsv"})
    with pytest.raises(DataError, match=r"train is required; got test"):
        list_tables({"test": "a.csv"})


def test_tables_of_several_folders(folder, table, rows):
    for name, part in (("one", rows[:8]), ("two", rows[8:])):
        (folder / name).mkdir()
        for path, _ in part:
            shutil.move(folder / path, folder / name)
        table([(Path(path).name, label) for path, label in part], name=f"{name}/labels.csv")
    listing = list_tables({"train": folder / "one" / "labels.csv", "test": folder / "two" / "labels.csv"})
    assert listing.root == folder
    assert listing.paths[7:9] == ["one/07.png", "two/08.png"]
    assert listing.decisions == ()


def test_the_labels_of_each_task(table, rows):
    ages, tags = [20.5 + index for index in range(12)], ["a", "b|c", "c", ""] * 3
    path = table(
        [(row[0], age, tag) for row, age, tag in zip(rows, ages, tags, strict=True)], ("image_path", "age", "tags")
    )
    regression = list_tables(path, options=TableOptions(label_column="age"))
    assert (regression.task, regression.class_names, regression.labels.dtype) == ("regression", ("age",), "float32")
    assert regression.labels[:, 0].tolist() == ages
    several = list_tables(path)
    assert (several.task, several.class_names, several.labels.dtype) == ("multi_label", ("a", "b", "c"), "uint8")
    assert several.labels[:4].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert several.decisions[1] == "3 of 12 images have no label in the column tags, which reads as none of the classes"
    with pytest.raises(ClassLayoutError, match="class_names must list exactly the classes"):
        list_tables(path, class_names=("a", "b"))
    assert list_tables(path, class_names=("c", "b", "a")).labels[1].tolist() == [1, 1, 0]


def test_load_reads_what_the_arguments_say(folder, table, rows):
    numbers = [(path, index, index % 2, 2.5 * index) for index, (path, _) in enumerate(rows)]
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    path = table(
        [(row[0], "x", *row[1:], part) for row, part in zip(numbers, parts, strict=True)],
        ("picture file", "label", "place", "odd", "weight", "split"),
    )
    data = load(path, image_size=8, image_column="picture file", label_column=["place", "weight"])
    assert (data.task, data.class_names) == ("regression", ("place", "weight"))
    targets = np.concatenate([split.labels for split in data.splits.values()])
    assert sorted(map(tuple, targets.tolist())) == [(index, 2.5 * index) for index in range(12)]
    assert load(path, image_size=8, label_column="odd").class_names == ("0", "1")
    for options, message in (
        ({"label_column": "weigt"}, "no column 'weigt' .label_column.. Did you mean 'weight'?"),
        ({"image_column": "file"}, "there is no column 'file' .image_column."),
    ):
        with pytest.raises(DataError, match=message):
            load(path, image_size=8, **options)
    with pytest.raises(InvalidArgumentError, match="label_column: only for tables of image files"):
        load("emoji", label_column="x")
    for wrong in (
        {"label_column": []},
        {"image_column": 2.5},
        {"contained": 1},
        {"label_separator": ""},
        {"image_dir": 3},
    ):
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            load(path, image_size=8, **wrong)


def test_splits_by_other_columns_values_and_folders(folder, table, rows):
    parts = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    expected = [SPLITS.index({"val": "validation"}.get(part, part)) for part in parts]
    for name in ("subset", "anything"):
        listing = list_tables(
            table([(*row, part) for row, part in zip(rows, parts, strict=True)], ("path", "label", name))
        )
        assert listing.splits.tolist() == expected
    labeled = [(path, part) for (path, _), part in zip(rows, parts, strict=True)]
    assert set(list_tables(table(labeled)).splits) == {-1}  # a column label holds labels, whatever they are
    folds = [(*row, index % 3) for index, row in enumerate(rows)]
    listing = list_tables(table(folds, ("path", "label", "fold")))
    assert set(listing.splits) == {-1}
    assert listing.decisions[0].startswith("the numbers in the column fold are not read as splits")
    listing = list_tables(table(folds, ("path", "label", "fold")), splits={"0": "test", "1": "train", "2": "train"})
    assert listing.splits.tolist() == [2, 0, 0] * 4
    for part in set(parts):
        (folder / part).mkdir()
    moved = [shutil.move(folder / path, folder / part) for (path, _), part in zip(rows, parts, strict=True)]
    listing = list_tables(
        table([(Path(path).relative_to(folder), label) for path, (_, label) in zip(moved, rows, strict=True)])
    )
    assert listing.splits.tolist() == expected
    assert listing.decisions == ("folders in the paths read as splits",)
