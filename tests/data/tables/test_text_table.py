import csv
import io

import numpy as np
import pytest

from vit_keras.data.tables.files import FileFinder
from vit_keras.data.tables.text_table import _split_plain, read_text_table
from vit_keras.errors import DataError


@pytest.fixture
def read(folder):
    def read_text(text, name="x.csv", encoding="utf-8", **options):
        (folder / name).write_bytes(text.encode(encoding))
        return read_text_table(folder / name, finder=FileFinder(folder), **options)

    return read_text


CELLS = [["path", "label"], ["pictures/00.png", "cat"], ["pictures/01.png", "dog, or wolf"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_line_ends_and_encodings(folder, read, delimiter, line_end, encoding):
    with (folder / "y").open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=line_end).writerows(CELLS)
    table = read((folder / "y").read_bytes().decode(), encoding=encoding)
    assert dict(table.columns) == {"path": ["pictures/00.png", "pictures/01.png"], "label": ["cat", "dog, or wolf"]}
    assert list(table.numbers) == [2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "path;label\na.png;1,5\nb.png;2,5\n",  # as many commas as semicolons below the header
        "a.png;1,5\nb.png;2,5\n",
        "path,label\na.png,1;5\nb.png,2;5\n",
        "a.png\t1,5\nb.png\t2,5\n",
        "bild;art, genau\na.png;x\nb.png;y\n",
    ],
)
def test_the_delimiter_gives_known_columns_and_rows_of_the_same_length(read, text):
    cells = list(read(text).columns.values())
    assert cells[0] == ["a.png", "b.png"]
    assert len(cells) == 2


def test_a_list_with_blanks(read):
    table = read("pictures/00.png 1\npictures/01.png  0\n", "train.txt")
    assert dict(table.columns) == {"1": ["pictures/00.png", "pictures/01.png"], "2": ["1", "0"]}


def test_cells_in_quotes_may_have_the_delimiter_and_line_breaks(read):
    table = read('path,label\n"a, b.png", "cat\nwith hat"\nc.png,dog\n')
    assert dict(table.columns) == {"path": ["a, b.png", "c.png"], "label": ["cat\nwith hat", "dog"]}
    assert table.numbers == [3, 4]


def test_texts_without_quotes_have_the_cells_that_csv_finds():
    rng, plain = np.random.default_rng(0), 0
    for _ in range(3000):
        letters = rng.choice(list("aab,,\n\n \té"), rng.integers(1, 14))
        text = "".join(letters)
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
        rows = [row for row in rows if any(row)]
        found = _split_plain(text, ",")
        if found is not None:
            plain += 1
            first, columns = found
            assert [first, *map(list, zip(*columns, strict=True))] == rows, repr(text)
    assert plain > 300


@pytest.mark.parametrize(
    ("first", "has_header"),
    [
        ("path,label", True),
        ("bild,art", True),
        ("pictures/00,cat", False),  # a file without its ending
        ("pictures/00.png,label", False),
        ("nowhere.jpg,cat", False),
        (",label", True),
    ],
)
def test_the_first_row_is_a_header_unless_it_names_an_image(read, first, has_header):
    table = read(f"{first}\npictures/01.png,dog\n")
    assert (table.has_header, len(table)) == (has_header, 1 if has_header else 2)
    if not has_header:
        assert list(table.columns) == ["1", "2"]


def test_a_column_that_the_user_names_makes_a_header(read):
    assert read("a.jpg,b.jpg\nc.jpg,d.jpg\n", named=("b.jpg",)).has_header
    assert not read("a.jpg,b.jpg\nc.jpg,d.jpg\n", named=("2",)).has_header


def test_columns_without_a_name_are_numbered_and_delimiters_at_the_end_dropped(read):
    table = read(",path,label\n0,a.png,cat,\n1,b.png,dog,,\n")
    assert list(table.columns) == ["column 1", "path", "label"]
    assert table.columns["label"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,label\na,b,c\n", r"the header \(row 1\) has label more than once"),
        ("path,label\na,b\n\nc\n", "row 4 has 1 cell, the header 2 .cells are separated by ','."),
        ("path,label\na,b,c\n", "row 2 has 3 cells, the header 2.*double quotes"),
        ('path,label\n"a,b\n', "not a CSV file"),
        ("", "there are no rows"),
    ],
)
def test_what_is_no_table_is_an_error(read, text, message):
    with pytest.raises(DataError, match=message):
        read(text)


def test_another_encoding_is_an_error(read):
    with pytest.raises(DataError, match=r"x\.csv: not a CSV file in UTF-8 .*Save it as CSV in UTF-8"):
        read("path,label\nété.png,cat\n", encoding="latin-1")
