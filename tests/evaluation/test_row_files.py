import csv
import json
import sys

import pytest

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.evaluation.row_files import check_new_file, write_rows

pytestmark = pytest.mark.any_backend

COLUMNS = {"image": "string", "probability": "double", "feature": "list<float>"}
ROWS = [{"image": 'a, "b".jpg', "probability": 0.1, "feature": [0.5, 1.0]}, {"image": "caf\udce9.png"}]


def write(path, rows=ROWS):
    with write_rows(path, COLUMNS) as add:
        for row in rows:
            add(row)
    return path


def test_csv_and_json_lines_hold_the_rows(tmp_path):
    with write(tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {"image": ROWS[0]["image"], "probability": "0.1", "feature": "[0.5, 1.0]"}
    assert second == {"image": "caf\\udce9.png", "probability": "", "feature": ""}
    lines = write(tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_parquet_holds_the_rows_in_several_groups(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(write(tmp_path / "a.parquet", ROWS * 6000))
    assert table.num_rows == 12_000
    rows = table.slice(0, 2).to_pylist()
    assert rows == [ROWS[0], {"image": "caf\\udce9.png", "probability": None, "feature": None}]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_interruption_leaves_nothing(tmp_path, suffix):
    pytest.importorskip("pyarrow")

    def rows():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / f"a.{suffix}", rows())
    assert list(tmp_path.iterdir()) == []


def test_names_that_cannot_be_written_are_refused_first(tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text("mine")
    for path, error, message in (
        (tmp_path / "mine.csv", StorageError, "mine.csv exists, and nothing is overwritten"),
        (tmp_path / "a.xlsx", InvalidArgumentError, "must end in .csv or .jsonl or .parquet"),
        (tmp_path / "none" / "a.csv", StorageError, "there is no folder"),
    ):
        with pytest.raises(error, match=message):
            check_new_file(path)
    assert (tmp_path / "mine.csv").read_text() == "mine"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidArgumentError, match="pip install pyarrow, or choose another format"):
        check_new_file(tmp_path / "a.parquet")
