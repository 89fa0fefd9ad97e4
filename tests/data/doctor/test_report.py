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

    def made(path):
        path = tmp_path / "root" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype("uint8")).resize((160, 120)).save(path)
        return path

    return made


@pytest.fixture
def root(make, tmp_path):
    for split, count in (("train", 12), ("test", 3)):
        for name in ("cat", "dog"):
            for index in range(count):
                make(f"{split}/{name}/{index:02d}.png")
    return tmp_path / "root"


def page_of(root, tmp_path):
    path = tmp_path / "report.html"
    path.unlink(missing_ok=True)
    write_report(examine(root, LENIENT), path)
    return Page(path.read_text("utf-8"))


def test_the_page_needs_no_network_and_no_scripts(root, tmp_path):
    page = page_of(root, tmp_path)
    assert_needs_nothing_else(page)
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in page.pictures)


def test_the_page_suits_a_telephone_and_the_dark(root, tmp_path):
    page = page_of(root, tmp_path)
    assert ("content", "width=device-width, initial-scale=1") in page.attributes
    assert "prefers-color-scheme: dark" in page.text


def test_every_class_has_a_sheet_of_pictures(root, tmp_path):
    page = page_of(root, tmp_path)
    assert len(page.pictures) == 30
    for picture in page.pictures:
        content = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (112, 84)
    titles = {value for name, value in page.attributes if name == "title"}
    assert {"train/cat/00.png", "test/dog/02.png"} < titles


def test_sheets_show_24_images_from_all_over_the_class(make, tmp_path):
    for name in ("cat", "dog"):
        for index in range(60):
            make(f"{name}/{index:02d}.png")
    page = page_of(tmp_path / "root", tmp_path)
    titles = [value for name, value in page.attributes if name == "title" and value.startswith("cat/")]
    assert len(titles) == 24
    assert (titles[0], titles[-1]) == ("cat/00.png", "cat/59.png")


def test_pictures_stop_where_they_would_take_too_much_room(make, tmp_path, monkeypatch):
    for name in "abcdefgh":
        for index in range(24):
            make(f"{name}/{index:02d}.png")
    monkeypatch.setattr(reporting, "_BUDGET", 200_000)
    monkeypatch.setattr(reporting, "_BUDGET_OF_SAMPLES", 150_000)
    page = page_of(tmp_path / "root", tmp_path)
    assert len(page.text) < 260_000
    assert "missing" in [value for name, value in page.attributes if name == "class"]
    shown = {value[0] for name, value in page.attributes if name == "alt"}
    assert shown == set("abcdefgh")


def test_doubles_are_side_by_side(root, tmp_path):
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
    ["<script>alert(1)<", "a\"onload='x", "&amp;", "$x_1$ $", "100%{x}", "été 猫 😀", "two\nlines", "\x1b[31mred"],
)
def test_any_name_is_text_and_never_markup(make, tmp_path, name):
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no text")
def test_names_that_are_no_text_are_spelled_out(root, tmp_path):
    (root / "train" / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    assert r"train/cat/caf\udce9.png" in page_of(root, tmp_path).words


def test_files_gone_since_are_not_shown(root, tmp_path):
    checkup = examine(root, LENIENT)
    (root / "train" / "cat" / "00.png").unlink()
    (root / "train" / "dog" / "00.png").write_bytes(b"no image any more")
    write_report(checkup, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert page.words.count("not shown") == 2


def test_a_data_set_of_which_nothing_is_left_has_a_page(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "x.png").write_bytes(b"broken")
    assert "0" in page_of(tmp_path / "root", tmp_path).words


@pytest.mark.parametrize("size", [(8, 8), (500, 500)])
def test_images_of_one_size_alone_are_charted(tmp_path, size):
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        Image.new("RGB", size, "red").save(tmp_path / "root" / name / "x.png")
    page = page_of(tmp_path / "root", tmp_path)
    assert page.tags.count("svg") == 2
    assert "shorter side, px" in page.words
    assert "currentColor" in page.text


def test_the_same_data_set_gives_the_same_page(root, tmp_path):
    assert page_of(root, tmp_path).text == page_of(root, tmp_path).text


def test_nothing_is_overwritten_and_nothing_half_written_is_left(root, tmp_path):
    checkup = examine(root, LENIENT)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(StorageError, match=r"report\.html exists"):
        write_report(checkup, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"
    with pytest.raises(StorageError, match="could not be written"):
        write_report(checkup, tmp_path / "nowhere" / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "root"]
