import csv
import os

import pytest
from PIL import Image

from vit_keras.data import load
from vit_keras.data.sources.table import list_table
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError


@pytest.fixture
def table(tmp_path):
    """Returns a writer of a table next to twelve images, 00.png to 11.png."""
    (tmp_path / "pictures").mkdir()
    for index in range(12):
        Image.new("RGB", (10, 10), (index * 20, 0, 0)).save(tmp_path / "pictures" / f"{index:02d}.png")

    def write(rows, header=("path", "label"), name="labels.csv", delimiter=","):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows([header, *rows])
        return tmp_path / name

    return write


def rows(count=12):
    return [(f"pictures/{index:02d}.png", "cat" if index % 2 else "dog") for index in range(count)]


SPLIT = ("path", "label", "split")


@pytest.mark.parametrize(
    ("header", "name", "delimiter"),
    [(("path", "label"), "labels.csv", ","), (("File", " CLASS "), "labels.CSV", ","), (("filename", "category"), "labels.tsv", "\t")],
)  # fmt: skip
def test_a_table_of_paths_and_labels_is_read(table, header, name, delimiter, monkeypatch):
    monkeypatch.chdir(table(rows(), header, name, delimiter).parent)
    data = load(name, image_size=8)
    assert data.class_names == ("cat", "dog")
    assert data.sizes == {"train": 8, "validation": 2, "test": 2}
    for split in data.splits.values():
        for index, label in enumerate(split.labels):
            assert (split.image(index)[0, 0, 0] // 20) % 2 == (label == 0)


def test_a_byte_order_mark_is_skipped_and_a_broken_image_left_out_and_noted(table):
    path = table([*rows(), ("pictures/broken.png", "cat")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (path.parent / "pictures" / "broken.png").write_bytes(b"broken")
    assert len(list_table(path).paths) == 13
    assert "broken.png" in " ".join(load(path, image_size=8).notes)


def test_a_column_split_states_the_splits(table):
    parts = ["train"] * 6 + ["val"] * 2 + ["Test"] * 4
    path = table([(*row, part) for row, part in zip(rows(), parts, strict=True)], SPLIT)
    assert load(path, image_size=8).sizes == {"train": 6, "validation": 2, "test": 4}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("pictures/99.png", "cat"), "row 14, 'pictures/99.png': there is no such file"),
        (("../secret.png", "cat"), "row 14.*must be relative to the table's folder and inside it"),
        (("/etc/passwd", "cat"), "row 14.*must be relative"),
        (("pictures\\00.png", "cat"), "row 14.*use / as separator"),
        (("pictures/00.png", "dog"), "row 14.*the same file as in row 2"),
        (("", "cat"), "row 14.*no path"),
        (("pictures", "cat"), "row 14.*there is no such file"),
        (("pictures/01.png", " "), "row 14.*no label"),
        (("pictures/00.png", "cat", "more"), "row 14 has 3 cells, the header 2"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_its_number(table, row, message):
    with pytest.raises(DataError, match=message):
        list_table(table([*rows(), row]))


def test_a_link_out_of_the_folder_is_an_error(table):
    path = table([*rows(), ("pictures/link.png", "cat")])
    os.symlink(__file__, path.parent / "pictures" / "link.png")
    with pytest.raises(DataError, match="a link out of the table's folder"):
        list_table(path)


def test_bad_rows_are_counted_and_ten_listed(table):
    with pytest.raises(DataError, match=r"15 rows can't be used") as caught:
        list_table(table([*rows(), *((f"pictures/no_{index}.png", "cat") for index in range(15))]))
    assert str(caught.value).count("there is no such file") == 10
    assert "and 5 more" in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "label", "kind", "message"),
    [
        (["later"] * 12, "dog", DataError, r"row 2.*the split 'later' is none of train, validation, test"),
        (["train"] * 6 + [""] * 6, "dog", DataError, "6 rows have no split"),
        (["train"] * 11 + ["test"], "owl", ClassLayoutError, r"no training image has the labels \['owl'\]"),
    ],
)
def test_splits_that_cannot_be_used_are_an_error(table, splits, label, kind, message):
    labeled = [*rows(11), ("pictures/11.png", label)]
    with pytest.raises(kind, match=message):
        list_table(table([(*row, split) for row, split in zip(labeled, splits, strict=True)], SPLIT))


def test_labels_that_are_not_classes_are_an_error(table):
    one = [(path, "cat") for path, _ in rows()]
    for given, kind, message in (
        ([], EmptyDatasetError, "no rows below the header"),
        (one, ClassLayoutError, r"at least two classes are needed, found \['cat'\]"),
        ([(one[0][0], "Cat"), *one[1:]], ClassLayoutError, "differ only in case"),
    ):
        with pytest.raises(kind, match=message):
            list_table(table(given))


def test_a_missing_column_or_another_encoding_is_an_error(table):
    with pytest.raises(DataError, match=r"has the columns \['picture', 'label'\]; name one of them path or file"):
        list_table(table(rows(), ("picture", "label")))
    path = table(rows())
    path.write_bytes(path.read_bytes() + "pictures/été.png,cat\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv: not a CSV file in UTF-8"):
        list_table(path)
