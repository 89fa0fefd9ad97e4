import base64
import io
import os
import re
import shutil
import sys

import numpy as np
import pytest
from pages import Page, assert_needs_nothing_else
from PIL import Image

from vit_keras.data.doctor import report as reporting
from vit_keras.data.doctor.check import examine
from vit_keras.data.doctor.report import write_report
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.errors import StorageError

LENIENT = ReadOptions(max_error_rate=1.0)


@pytest.fixture
def make(tmp_path):
    rng = np.random.default_rng(0)

    def make_image(path):
        path = tmp_path / "root" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype("uint8")).resize((160, 120)).save(path)

    return make_image


@pytest.fixture
def root(make, tmp_path):
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            for index in range(count):
                make(f"{split}/{name}/{index:02d}.png")
    return tmp_path / "root"


def page_of(root, tmp_path):
    path = tmp_path / "report.html"
    path.unlink(missing_ok=True)
    write_report(examine(root, LENIENT), path)
    return Page(path.read_text("utf-8"))


def test_the_page_is_self_contained_and_the_same_each_time(root, tmp_path):
    page = page_of(root, tmp_path)
    assert_needs_nothing_else(page)
    assert ("content", "width=device-width, initial-scale=1") in page.attributes
    assert "prefers-color-scheme: dark" in page.text
    assert page.text == page_of(root, tmp_path).text


def test_every_class_has_sample_images(root, tmp_path):
    page = page_of(root, tmp_path)
    assert len(page.pictures) == 16
    for picture in page.pictures:
        content = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (112, 84)
    titles = {value for name, value in page.attributes if name == "title"}
    assert {"train/cat/00.png", "test/dog/01.png"} < titles


def test_samples_are_24_images_spread_over_the_class(make, tmp_path):
    for name in ("cat", "dog"):
        for index in range(40):
            make(f"{name}/{index:02d}.png")
    page = page_of(tmp_path / "root", tmp_path)
    titles = [value for name, value in page.attributes if name == "title" and value.startswith("cat/")]
    assert len(titles) == 24
    assert (titles[0], titles[-1]) == ("cat/00.png", "cat/39.png")


def test_pictures_stop_at_their_budget_but_every_class_has_some(make, tmp_path, monkeypatch):
    for name in "abcd":
        for index in range(24):
            make(f"{name}/{index:02d}.png")
    monkeypatch.setattr(reporting, "_BUDGET", 100_000)
    monkeypatch.setattr(reporting, "_BUDGET_OF_SAMPLES", 75_000)
    page = page_of(tmp_path / "root", tmp_path)
    assert len(page.text) < 160_000
    assert "missing" in [value for name, value in page.attributes if name == "class"]
    assert {value[0] for name, value in page.attributes if name == "alt"} == set("abcd")


def test_duplicates_are_shown_side_by_side(root, tmp_path):
    shutil.copy(root / "train" / "cat" / "03.png", root / "test" / "cat" / "same.png")
    with Image.open(root / "train" / "dog" / "05.png") as image:
        image.resize((200, 150)).save(root / "train" / "dog" / "alike.png")
    text = page_of(root, tmp_path).text
    groups = [re.findall(r'alt="([^"]*)"', part) for part in text.split('<div class="group">')[1:]]
    assert [set(group[:2]) for group in groups] == [
        {"train/cat/03.png", "test/cat/same.png"},
        {"train/dog/05.png", "train/dog/alike.png"},
    ]


def test_files_left_out_are_listed_with_reasons(root, tmp_path):
    (root / "train" / "cat" / "x.png").write_bytes(b"<!DOCTYPE html>")
    words = page_of(root, tmp_path).words
    place = words.index("train/cat/x.png")
    assert words[place + 1 : place + 3] == ["cat", "train"]
    assert "it looks like HTML" in words[place + 3]


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)<", "a\"onload='x", "&amp;", "$x_1$ $ 100%{x} 😀", "two\nlines\x1b[31mred"],
)
def test_names_are_escaped(make, tmp_path, name):
    for kind in (name, "plain"):
        for index in range(3):
            make(f"{kind}/{name} {index}.png")
    (tmp_path / "root" / name / f"{name} bad.png").write_bytes(b"broken")
    shutil.copy(tmp_path / "root" / name / f"{name} 0.png", tmp_path / "root" / "plain" / f"{name} same.png")
    page = page_of(tmp_path / "root", tmp_path)
    assert "script" not in page.tags
    assert "\x1b" not in page.text
    spelled = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert spelled in page.words
    assert f"{spelled}/{spelled} 0.png" in [value for kind, value in page.attributes if kind == "title"]
    assert {kind for kind, _ in page.attributes} & {"onload"} == set()


def test_files_that_are_gone_are_not_shown(root, tmp_path):
    checkup = examine(root, LENIENT)
    (root / "train" / "cat" / "00.png").unlink()
    (root / "train" / "dog" / "00.png").write_bytes(b"no image any more")
    write_report(checkup, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert page.words.count("not shown") == 2


def test_a_data_set_without_a_usable_image_has_a_page(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / os.fsdecode(b"x\xe9.png" if sys.platform == "linux" else b"x.png")).write_bytes(
            b"broken"
        )
    words = page_of(tmp_path / "root", tmp_path).words
    assert "usable images" in words
    assert (r"cat/x\udce9.png" if sys.platform == "linux" else "cat/x.png") in words


@pytest.mark.parametrize("size", [(8, 8), (500, 500)])
def test_images_of_one_size_have_charts(tmp_path, size):
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        Image.new("RGB", size, "red").save(tmp_path / "root" / name / "x.png")
    page = page_of(tmp_path / "root", tmp_path)
    assert page.tags.count("svg") == 2
    assert "shorter side, px" in page.words
    assert "currentColor" in page.text


def test_nothing_is_overwritten_and_nothing_half_written_is_left(root, tmp_path):
    checkup = examine(root, LENIENT)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(StorageError, match=r"report\.html exists"):
        write_report(checkup, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"
    with pytest.raises(StorageError, match="could not be written"):
        write_report(checkup, tmp_path / "nowhere" / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "root"]
