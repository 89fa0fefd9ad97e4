import importlib.util
import json

import pytest

from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.read_table import read_table
from vit_keras.errors import DataError, EmptyDatasetError


def test_json_lines(folder):
    path = folder / "metadata.jsonl"
    lines = [{"file_name": "a.png", "label": "cat"}, {"file_name": "b.png", "label": None, "score": 2.0}]
    path.write_text("\ufeff" + "\n\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    table = read_table(path, TableOptions())
    assert dict(table.columns) == {"file_name": ["a.png", "b.png"], "label": ["cat", ""], "score": ["", "2"]}
    assert table.numbers == [1, 3]
    for text, message in (
        ('{"file_name": "a.png"}\n{"file', "line 2 is not a JSON object"),
        ("[1, 2]\n", "line 1 is not a JSON object"),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(DataError, match=message):
            read_table(path, TableOptions())
    path.write_text("\n", "utf-8")
    with pytest.raises(EmptyDatasetError, match="there are no rows"):
        read_table(path, TableOptions())


def test_parquet(folder):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"image": ["a.png", "b.png"], "tags": [["cat", "dog"], []], "age": [1.5, None]}
    parquet.write_table(pyarrow.table(columns), folder / "x.parquet")
    table = read_table(folder / "x.parquet", TableOptions())
    assert dict(table.columns) == {"image": ["a.png", "b.png"], "tags": [["cat", "dog"], []], "age": ["1.5", ""]}
    (folder / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"x\.parquet: not a readable Parquet file"):
        read_table(folder / "x.parquet", TableOptions())


def test_parquet_without_a_library_is_an_error_that_says_what_to_install(folder, monkeypatch):
    (folder / "x.parquet").write_bytes(b"PAR1")
    find = importlib.util.find_spec
    absent = ("pyarrow", "polars", "pandas")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in absent else find(name))
    with pytest.raises(DataError, match=r"reading Parquet needs pyarrow \(pip install pyarrow\), polars or pandas"):
        read_table(folder / "x.parquet", TableOptions())


def test_what_is_no_table_is_an_error(folder):
    (folder / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"x\.xlsx: spreadsheets can't be read; save it as CSV"):
        read_table(folder / "x.xlsx", TableOptions())
    with pytest.raises(DataError, match=r"nowhere\.csv: there is no such file"):
        read_table(folder / "nowhere.csv", TableOptions())
