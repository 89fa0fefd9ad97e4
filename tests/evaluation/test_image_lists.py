from pathlib import Path

import pytest

from vit_keras.errors import DataError, EmptyDatasetError
from vit_keras.evaluation.image_lists import is_image_list, read_image_list, read_lines

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "path,label\n1.jpg,cat\n2.jpg,\n", [("1.jpg", "cat"), ("2.jpg", None)]),
        ("a.csv", "\ufeffid;Image Path;Class\n7;x/1.jpg;cat\n", [("x/1.jpg", "cat")]),
        ("a.tsv", "label\tfilename\ncat\ta, b.jpg\n", [("a, b.jpg", "cat")]),
        ("a.csv", 'filename,note\n"a, b.jpg","x"\n\n', [("a, b.jpg", None)]),
        ("a.csv", "1.jpg,cat\n2.PNG,dog\n", [("1.jpg", "cat"), ("2.PNG", "dog")]),
        ("a.txt", "1.jpg\r\n\n a b, c.png \n", [("1.jpg", None), ("a b, c.png", None)]),
    ],
)
def test_rows_are_read_whatever_the_form_of_the_list(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text)
    for file, _ in expected:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert is_image_list(path)
    assert read_image_list(path) == [(tmp_path / file, label) for file, label in expected]


def test_a_path_in_a_text_file_starts_at_its_folder_else_at_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("both.png", "lists/both.png", "here.png"):
        Path(name).touch()
    Path("lists/all.txt").write_text(f"both.png\nhere.png\nnone.png\n{tmp_path}/here.png\n")
    found = [str(path) for path, _ in read_image_list(Path("lists/all.txt"))]
    assert found == ["lists/both.png", "here.png", "lists/none.png", f"{tmp_path}/here.png"]


def test_a_missing_file_stays_in_the_list(tmp_path):
    (tmp_path / "a.csv").write_text("path,label\nnone.png,cat\n")
    assert read_image_list(tmp_path / "a.csv") == [(tmp_path / "none.png", "cat")]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", EmptyDatasetError, "there are no rows"),
        ("path,label\n", EmptyDatasetError, "there are no rows"),
        ("path,label\n,cat\n", EmptyDatasetError, "names no images"),
        ("a,b\n1,2\n", DataError, "no column names image files"),
        ('path\n"a.jpg', DataError, "not a CSV file"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, text, error, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=message):
        read_image_list(tmp_path / "a.csv")


def test_paths_on_stdin_are_separated_by_lines_or_by_nul():
    assert read_lines("a b.jpg\nc.jpg") == read_lines("a b.jpg\0c.jpg\0") == [Path("a b.jpg"), Path("c.jpg")]
