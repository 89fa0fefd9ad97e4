import csv
import os

import pytest
from PIL import Image

from vit_keras.data import load
from vit_keras.data.sources.table import list_table
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError


@pytest.fixture
def table(tmp_path):
    """Returns a writer of a table beside twelve pictures, 00.png to 11.png."""
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


@pytest.mark.parametrize(
    ("header", "name", "delimiter"),
    [(("path", "label"), "labels.csv", ","), (("File", " CLASS "), "labels.CSV", ","), (("filename", "category"), "labels.tsv", "\t")],
)  # fmt: skip
def test_a_table_of_paths_and_labels_is_read(table, header, name, delimiter):
    data = load(table(rows(), header, name, delimiter), image_size=8)
    assert data.class_names == ("cat", "dog")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 8, "validation": 2, "test": 2}
    for split in data.splits.values():
        for index, label in enumerate(split.labels):
            assert (split.image(index)[0, 0, 0] // 20) % 2 == (label == 0)


def test_a_word_that_ends_as_a_table_is_one(table, monkeypatch):
    monkeypatch.chdir(table(rows()).parent)
    assert load("labels.csv", image_size=8).class_names == ("cat", "dog")


def test_a_table_with_a_byte_order_mark_is_read(table):
    path = table(rows())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(list_table(path).paths) == 12


def test_a_column_called_split_parts_the_images(table):
    parts = ["train"] * 6 + ["val"] * 2 + ["Test"] * 4
    path = table([(*row, part) for row, part in zip(rows(), parts, strict=True)], ("path", "label", "split"))
    data = load(path, image_size=8)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 6, "validation": 2, "test": 4}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("pictures/99.png", "cat"), "row 14, 'pictures/99.png': there is no such file"),
        (("../secret.png", "cat"), "row 14.*must be relative to the table.*stay in its folder"),
        (("/etc/passwd", "cat"), "row 14.*must be relative to the table"),
        (("pictures\\00.png", "cat"), "row 14.*with / between"),
        (("pictures/00.png", "dog"), "row 14.*the same file as in row 2"),
        (("", "cat"), "row 14.*no path"),
        (("pictures", "cat"), "row 14.*there is no such file"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_its_number(table, row, told):
    with pytest.raises(DataError, match=told):
        list_table(table([*rows(), row]))


def test_a_row_without_a_label_is_named(table):
    with pytest.raises(DataError, match=r"row 3, 'pictures/01\.png': no label"):
        list_table(table([rows()[0], ("pictures/01.png", " ")]))


def test_a_link_out_of_the_folder_is_refused(table, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "a.png"
    Image.new("RGB", (9, 9)).save(outside)
    path = table([*rows(), ("pictures/link.png", "cat")])
    os.symlink(outside, path.parent / "pictures" / "link.png")
    with pytest.raises(DataError, match="a link out of the table's folder"):
        list_table(path)


def test_every_bad_row_is_counted_and_the_first_ten_are_named(table):
    with pytest.raises(DataError, match=r"15 rows can't be used") as caught:
        list_table(table([*rows(), *((f"pictures/no_{index}.png", "cat") for index in range(15))]))
    assert str(caught.value).count("there is no such file") == 10
    assert "and 5 more" in str(caught.value)


def test_a_split_of_another_name_is_named(table):
    with pytest.raises(DataError, match=r"row 2.*the split 'later' is none of train, validation, test"):
        list_table(table([(*row, "later") for row in rows()], ("path", "label", "split")))


def test_a_split_in_some_rows_alone_is_refused(table):
    given = [(*row, "train" if index < 6 else "") for index, row in enumerate(rows())]
    with pytest.raises(DataError, match="6 rows have no split, the others have"):
        list_table(table(given, ("path", "label", "split")))


def test_a_label_that_training_lacks_is_named(table):
    given = [(*row, "train") for row in rows(10)] + [("pictures/10.png", "owl", "test")]
    with pytest.raises(ClassLayoutError, match=r"labels \['owl'\] are in validation or test alone"):
        list_table(table(given, ("path", "label", "split")))


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ([], EmptyDatasetError, "no rows under the header"),
        ([(path, "cat") for path, _ in rows()], ClassLayoutError, r"two classes or more are needed, found \['cat'\]"),
        ([(path, label if index else "Dog") for index, (path, label) in enumerate(rows())], ClassLayoutError, "differ only in case"),
    ],
)  # fmt: skip
def test_labels_that_make_no_classes_are_refused(table, given, kind, told):
    with pytest.raises(kind, match=told):
        list_table(table(given))


def test_a_missing_column_says_which_there_are(table):
    with pytest.raises(
        DataError, match=r"row 1 has the columns \['picture', 'label'\]; one must be called path or file"
    ):
        list_table(table(rows(), ("picture", "label")))


def test_a_table_in_another_encoding_is_refused(table):
    path = table(rows())
    path.write_bytes(path.read_bytes() + "pictures/été.png,cat\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv: not a table in UTF-8"):
        list_table(path)


def test_a_row_of_another_length_is_named(table):
    with pytest.raises(DataError, match="row 14 has 3 cells, the header 2"):
        list_table(table([*rows(), ("pictures/00.png", "cat", "more")]))


def test_a_broken_image_of_a_table_is_left_out_and_said(table):
    path = table([*rows(), ("pictures/broken.png", "cat")])
    (path.parent / "pictures" / "broken.png").write_bytes(b"broken")
    assert "broken.png" in " ".join(load(path, image_size=8).notes)
