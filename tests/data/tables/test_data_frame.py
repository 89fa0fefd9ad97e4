import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.data.tables.data_frame import is_data_frame, read_data_frame
from vit_keras.data.tables.list_tables import list_tables
from vit_keras.errors import DataError

COLUMNS = {
    "path": ["a.png", "b.png", "c.png"],
    "label": ["cat", None, "dog"],
    "count": [1, 2, 3],
    "share": [0.1, 1.0, float("nan")],
    "tags": [["x", "y"], [], ["x"]],
    "good": [True, False, True],
}
CELLS = {
    "path": ["a.png", "b.png", "c.png"],
    "label": ["cat", "", "dog"],
    "count": ["1", "2", "3"],
    "share": ["0.1", "1", ""],
    "tags": [["x", "y"], [], ["x"]],
    "good": ["True", "False", "True"],
}


@pytest.fixture(params=["pandas", "polars", "pyarrow"])
def make(request):
    library = pytest.importorskip(request.param)
    return library.table if request.param == "pyarrow" else library.DataFrame


def test_cells_are_those_of_a_file_of_the_same_values(make, folder):
    frame = make(COLUMNS)
    assert is_data_frame(frame)
    table = read_data_frame(frame, folder=folder)
    assert dict(table.columns) == CELLS
    assert list(table.numbers) == [0, 1, 2]


def test_a_frame_is_loaded_as_a_file_of_the_same_rows_is(make, table, rows, folder, monkeypatch):
    monkeypatch.chdir(folder)
    frame = make({"path": [path for path, _ in rows], "label": [label for _, label in rows]})
    data, expected = load(frame, image_size=8), load(table(rows), image_size=8)
    assert data.fingerprint == expected.fingerprint
    assert (data.name, data.class_names) == ("data frame", ("cat", "dog"))
    both = {"train": frame[:8] if hasattr(frame, "loc") else frame.slice(0, 8), "test": table(rows[8:])}
    assert load(both, image_size=8, split=(0.25, 0.1)).sizes == {"train": 6, "validation": 2, "test": 4}


def test_a_frame_of_each_split(make, rows, folder, monkeypatch):
    monkeypatch.chdir(folder)
    train, held, again = (
        make({"path": [path for path, _ in part], "label": [label for _, label in part]})
        for part in (rows[:8], rows[8:], rows[7:])
    )
    listing = list_tables(
        {"train": train, "validation": held, "test": held}
    )  # as `vk.finetune(model, train, held)` does
    assert listing.paths == [path for path, _ in [*rows, *rows[8:]]]
    assert listing.splits.tolist() == [0] * 8 + [1] * 4 + [2] * 4
    with pytest.raises(
        DataError, match=r"the data frame 'test', row 0, .*: the same file as in the data frame 'train', row 7"
    ):
        list_tables({"train": train, "test": again})


def test_absolute_paths_start_from_their_common_folder(make, rows, folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    listing = list_tables(
        make({"file": [str(folder / path) for path, _ in rows], "kind": [label for _, label in rows]})
    )
    assert (listing.root, listing.paths[0], listing.decisions) == (folder / "pictures", "00.png", ())


def test_bad_rows_are_counted_from_0(make, rows, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(
        DataError, match=r"the data frame: 1 row can't be used:\n  row 1, 'x\.png': there is no such file"
    ):
        list_tables(make({"path": [rows[0][0], "x.png"], "label": ["cat", "dog"]}))
    with pytest.raises(DataError, match="the cell is bytes, not a path; images inside a table can't be read"):
        list_tables(make({"image": [b"1", b"2"], "label": ["cat", "dog"]}))


def test_numbered_categorical_and_repeated_columns_of_pandas(rows, folder, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(folder)
    frame = pandas.DataFrame(rows)
    frame[1] = frame[1].astype("category")
    listing = list_tables(frame)
    assert listing.class_names == ("cat", "dog")
    assert np.bincount(listing.labels).tolist() == [6, 6]
    assert list_tables(pandas.DataFrame(rows, columns=["path", "label"]).set_index("path")).paths == listing.paths
    frame.columns = ["path", "path"]
    with pytest.raises(DataError, match=r"several columns are named path"):
        list_tables(frame)


def test_a_lazy_frame_is_collected(folder):
    polars = pytest.importorskip("polars")
    assert dict(read_data_frame(polars.LazyFrame(COLUMNS), folder=folder).columns) == CELLS
