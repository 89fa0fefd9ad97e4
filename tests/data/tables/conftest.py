"""Twelve images, 00.png to 11.png, and tables of them."""

import csv

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """A folder with the folder `pictures` of twelve images, red by their number."""
    (tmp_path / "pictures").mkdir()
    for index in range(12):
        Image.new("RGB", (10, 10), (index * 20, 0, 0)).save(tmp_path / "pictures" / f"{index:02d}.png")
    return tmp_path


@pytest.fixture
def table(folder):
    """Returns a writer of a table next to the images."""

    def write(rows, header=("path", "label"), name="labels.csv", delimiter=","):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows([header, *rows] if header else rows)
        return folder / name

    return write


@pytest.fixture
def rows():
    """A path and a class for each image."""
    return [(f"pictures/{index:02d}.png", "cat" if index % 2 else "dog") for index in range(12)]
