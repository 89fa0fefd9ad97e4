"""The data doctor on several labels per image and on numbers."""

import json

import numpy as np
import pytest
from pages import Page
from PIL import Image

from vit_keras.data import ReadOptions, load
from vit_keras.data.doctor.check import examine


@pytest.fixture
def table_of(tmp_path):
    """Returns a maker of a table of 12 different images with these labels."""

    def make(labels, column="label"):
        rng = np.random.default_rng(0)
        rows = [f"file,{column}"]
        for number, label in enumerate(labels):
            pixels = rng.integers(0, 256, (40, 40, 3)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
            rows.append(f"{number}.png,{label}")
        table = tmp_path / "labels.csv"
        table.write_text("\n".join(rows) + "\n")
        return table

    return make


def test_several_labels_per_image_are_counted_per_class(table_of, tmp_path):
    table = table_of(["cat|dog", "cat", "dog|owl", "cat|owl"] * 3)
    Image.open(tmp_path / "0.png").save(tmp_path / "copy.png")
    with table.open("a") as file:
        file.write("copy.png,cat\n")
    checkup = examine(table, ReadOptions(), report=tmp_path / "report.html")
    lines = list(checkup.lines())
    assert lines[0].endswith("13 usable images with 3 classes, any number per image")
    assert "per class    6 (dog) to 10 (cat) images" in lines
    given = json.loads(json.dumps(checkup.to_dict()))
    assert given["task"] == "multi_label"
    assert given["classes"] == {"cat": {"all": 10}, "dog": {"all": 6}, "owl": {"all": 6}}
    (conflict,) = [finding for finding in checkup.findings if finding.kind == "conflict"]
    assert conflict.files == (("0.png", "copy.png"),)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "classes, any number per image" in page.words


def test_numbers_have_a_range_and_outliers_are_reported(table_of, tmp_path):
    table = table_of([20.5, 21.0, 22.5, 23.0, 24.5, 25.0, 26.5, 27.0, 28.5, 29.0, 30.5, -9999.0], column="age")
    checkup = examine(table, ReadOptions(), report=tmp_path / "report.html")
    lines = list(checkup.lines())
    assert lines[0].endswith("12 usable images with 1 number to predict")
    assert any(line.startswith("numbers      age: -9999 to 30.5, mean -81") for line in lines)
    (odd,) = [finding for finding in checkup.findings if finding.kind == "odd number"]
    assert odd.files == (("11.png",),)
    assert "such as -9999. If they stand for no value, leave these rows out." in odd.text
    given = json.loads(json.dumps(checkup.to_dict()))
    assert given["targets"]["age"]["max"] == 30.5
    assert given["class_weights"] == {}
    assert "Numbers" in Page((tmp_path / "report.html").read_text("utf-8")).words


def test_images_without_any_class_are_counted(table_of, tmp_path):
    table = table_of(range(12))
    lines = ["file,cat,dog"] + [f"{number}.png,{int(number < 6)},{int(3 < number < 8)}" for number in range(12)]
    table.write_text("\n".join(lines) + "\n")
    (finding,) = [found for found in examine(table, ReadOptions()).findings if found.kind == "no class"]
    assert finding.text == "images without any class: 4."
    data = load(table, image_size=16)
    assert (data.task, data.class_names, sum(data.sizes.values())) == ("multi_label", ("cat", "dog"), 12)
