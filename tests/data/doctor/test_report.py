import base64
import io
import os
import re
import shutil
import sys

import pytest
from pages import Page, assert_needs_nothing_else
from PIL import Image

from vit_keras.data.doctor import report as reporting
from vit_keras.data.doctor.check import examine
from vit_keras.data.doctor.report import write_report
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.errors import StorageError

LENIENT = ReadOptions(max_error_rate=1.0)


def page_of(root, tmp_path):
    path = tmp_path / "report.html"
    path.unlink(missing_ok=True)
    write_report(examine(root, LENIENT), path)
    return Page(path.read_text("utf-8"))


def test_the_page_is_self_contained_and_the_same_each_time(splits, tmp_path):
    page = page_of(splits, tmp_path)
    assert_needs_nothing_else(page)
    assert ("content", "width=device-width, initial-scale=1") in page.attributes
    assert "prefers-color-scheme: dark" in page.text
    assert page.text == page_of(splits, tmp_path).text


def test_the_page_shows_samples_duplicates_and_files_left_out(splits, tmp_path):
    shutil.copy(splits / "train" / "cat" / "03.png", splits / "test" / "cat" / "same.png")
    with Image.open(splits / "train" / "dog" / "05.png") as image:
        image.resize((200, 150)).save(splits / "train" / "dog" / "alike.png")
    (splits / "train" / "cat" / "x.png").write_bytes(b"<!DOCTYPE html>")
    page = page_of(splits, tmp_path)
    for picture in page.pictures:
        content = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (112, 84)
    titles = {value for name, value in page.attributes if name == "title"}
    assert {"train/cat/00.png", "test/dog/01.png"} < titles
    groups = [re.findall(r'alt="([^"]*)"', part) for part in page.text.split('<div class="group">')[1:]]
    assert [set(group[:2]) for group in groups] == [
        {"train/cat/03.png", "test/cat/same.png"}, {"train/dog/05.png", "train/dog/alike.png"},
    ]  # fmt: skip
    place = page.words.index("train/cat/x.png")
    assert page.words[place + 1 : place + 3] == ["cat", "train"]
    assert "it looks like HTML" in page.words[place + 3]


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


def test_names_are_escaped(make, tmp_path):
    root, names = (
        tmp_path / "root",
        ["<script>alert(1)<", "a\"onload='x", "&amp;", "$x_1$ $ 100%{x} 😀", "two\nlines\x1b[31mred"],
    )
    for name in names:
        for kind in (name, "plain"):
            for index in range(3):
                make(f"{kind}/{name} {index}.png")
        (root / name / f"{name} bad.png").write_bytes(b"broken")
        shutil.copy(root / name / f"{name} 0.png", root / "plain" / f"{name} same.png")
    page = page_of(root, tmp_path)
    assert "script" not in page.tags
    assert "\x1b" not in page.text
    assert "onload" not in {kind for kind, _ in page.attributes}
    titles = [value for kind, value in page.attributes if kind == "title"]
    for name in names:
        spelled = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
        assert spelled in page.words
        assert f"{spelled}/{spelled} 0.png" in titles


def test_files_that_are_gone_are_not_shown(splits, tmp_path):
    checkup = examine(splits, LENIENT)
    (splits / "train" / "cat" / "00.png").unlink()
    (splits / "train" / "dog" / "00.png").write_bytes(b"no image any more")
    write_report(checkup, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert page.words.count("not shown") == 2


def test_a_data_set_without_a_usable_image_has_a_page(tmp_path):
    file, written = (os.fsdecode(b"x\xe9.png"), r"x\udce9.png") if sys.platform == "linux" else ("x.png", "x.png")
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / file).write_bytes(b"broken")
    words = page_of(tmp_path / "root", tmp_path).words
    assert "usable images" in words
    assert f"cat/{written}" in words


def test_images_of_one_size_have_charts(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "root" / name / "x.png")
    page = page_of(tmp_path / "root", tmp_path)
    assert page.tags.count("svg") == 2
    assert "shorter side, px" in page.words
    assert "currentColor" in page.text


def test_nothing_is_overwritten_and_nothing_half_written_is_left(splits, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(StorageError, match=r"report\.html exists.* overwrite=True"):
        examine(splits, LENIENT, report=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"
    checkup = examine(splits, LENIENT, report=tmp_path / "report.html", overwrite=True)
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(StorageError, match="could not be written"):
        write_report(checkup, tmp_path / "nowhere" / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "root"]
