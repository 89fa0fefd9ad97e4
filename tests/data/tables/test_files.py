import os

import pytest

from vit_keras.data.tables.files import FileFinder


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("pictures/00.png", "pictures/00.png"),
        ("./pictures//00.png", "pictures/00.png"),
        ("pictures/00", "pictures/00.png"),
        ("pictures\\00.png", "pictures/00.png"),
        ("pictures/../pictures/00.png", "pictures/../pictures/00.png"),
        ("pictures", None),
        ("pictures/99.png", None),
        ("", None),
        ("a\0b", None),
        ("x" * 300, None),
        (["pictures/00.png"], None),
        (None, None),
    ],
)
def test_what_a_cell_names(folder, cell, expected):
    assert FileFinder(folder).find(cell) == expected


def test_absolute_paths_are_relative_where_they_are_below_the_folder(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "x.png"
    other.write_bytes(b"")
    finder = FileFinder(folder)
    assert finder.find(str(folder / "pictures" / "00.png")) == "pictures/00.png"
    assert finder.find(f"file://{folder}/pictures/00.png") == "pictures/00.png"
    assert finder.find(str(other)) == str(other)
    assert (finder.is_outside(str(other)), finder.is_outside("pictures/00.png")) == (True, False)


def test_a_folder_that_is_a_link_itself_is_not_outside_of_itself(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "link"
    os.symlink(folder, link)
    finder = FileFinder(link)
    assert not finder.is_outside("pictures/00.png")
    assert finder.find(str(folder / "pictures" / "00.png")) == "pictures/00.png"
    os.symlink(folder / "pictures" / "00.png", folder / "pictures" / "same.png")
    assert not finder.is_outside("pictures/same.png")
