"""Large texts split with pyarrow have the cells that csv finds."""

import csv
import io

import numpy as np
import pytest

from vit_keras.data.tables import arrow_text
from vit_keras.data.tables.arrow_text import is_large, split_large
from vit_keras.data.tables.files import FileFinder
from vit_keras.data.tables.text_table import read_text_table

pytestmark = pytest.mark.any_backend


def test_cells_are_those_that_csv_finds_or_there_are_none():
    rng, plain = np.random.default_rng(0), 0
    for _ in range(2000):
        text = "".join(rng.choice(list('aab,,,\n\n 1 "'), rng.integers(1, 14)))
        found = split_large(text.encode(), ",")
        if found is not None:
            plain += 1
            rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
            first, columns = found
            assert [first, *map(list, zip(*columns, strict=True))] == [row for row in rows if any(row)], repr(text)
            assert all(type(cell) is str for column in columns for cell in column)
    assert plain > 100


def test_only_large_texts_in_ascii_are_split_so(monkeypatch):
    monkeypatch.setattr(arrow_text, "_WORTH_IMPORTING", 10)
    assert is_large(b"path,label\n")
    assert not is_large("päth,label\n".encode())
    assert not is_large(b"path")
    monkeypatch.setattr(arrow_text.importlib.util, "find_spec", lambda name: None)
    assert not is_large(b"path,label\n")


@pytest.mark.parametrize("text", ["path;label\n{};cat\n{};dog\n", "{},cat\n{},dog\n", 'path,label\n"{}",cat\n{},dog\n'])
def test_a_large_table_is_the_same_as_a_small_one(tmp_path, monkeypatch, text):
    (tmp_path / "x.csv").write_text(text.format("a.png", "b.png"))
    small = read_text_table(tmp_path / "x.csv", finder=FileFinder(tmp_path))
    monkeypatch.setattr(arrow_text, "_WORTH_IMPORTING", 10)
    large = read_text_table(tmp_path / "x.csv", finder=FileFinder(tmp_path))
    assert dict(large.columns) == dict(small.columns)
    assert (list(large.numbers), large.has_header) == (list(small.numbers), small.has_header)
