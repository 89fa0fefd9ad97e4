import json

import numpy as np
import pytest
from explain.pages import read_page
from PIL import Image


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("one", "two"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (20, 30, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("method", ["rollout", "attention", "relevance"])
def test_a_folder_becomes_a_sheet(run, tiny_preset, pictures, tmp_path, method):
    target = tmp_path / "seen.png"
    code, out, _ = run("explain", tiny_preset, pictures, "--method", method, "--out", target, "--json")
    assert code == 0
    found = json.loads(out)
    assert [each["file"] for each in found["images"]] == [str(pictures / "one.png"), str(pictures / "two.png")]
    assert all(each["class"] in ("cat", "dog", "owl") for each in found["images"])
    sheet = np.asarray(Image.open(target).convert("RGB"))
    assert sheet.std() > 10


def test_what_is_no_image_is_named_and_skipped(run, tiny_preset, pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"<html>")
    code, out, err = run("explain", tiny_preset, pictures, "--out", tmp_path / "seen.png")
    assert code == 3
    assert "broken.png" in err
    assert "two.png" in out
    assert (tmp_path / "seen.png").is_file()


def test_what_can_t_be_drawn_is_said(run, tiny_preset, pictures, tmp_path):
    taken = tmp_path / "taken.png"
    taken.write_bytes(b"mine")
    cases = [
        ((tiny_preset, pictures, "--out", taken), 6, "nothing is overwritten"),
        ((tiny_preset, pictures, "--method", "guess"), 2, "--method must be one of attention, rollout, relevance"),
        ((tiny_preset, pictures, "--method", "attention", "--layer", 7), 2, "no block 7"),
        ((tiny_preset, tmp_path / "empty"), 2, "contains no images"),
    ]
    (tmp_path / "empty").mkdir()
    for typed, expected, message in cases:
        code, _, err = run("explain", *typed, *([] if "--out" in typed else ["--out", tmp_path / "new.png"]))
        assert (code, message in err) == (expected, True), err
    assert taken.read_bytes() == b"mine"
    assert not (tmp_path / "new.png").exists()


def test_two_models_are_drawn_side_by_side(run, tiny_preset, pictures, tmp_path):
    target = tmp_path / "both.png"
    code, out, _ = run("explain", tiny_preset, pictures, "--against", "vit_micro_patch4_28", "--out", target, "--json")
    assert code == 0
    found = json.loads(out)["images"]
    assert all(each["class"] in ("cat", "dog", "owl") and each["against"] == {} for each in found)
    alone = tmp_path / "alone.png"
    run("explain", tiny_preset, pictures, "--out", alone)
    widths = []
    for path in (target, alone):
        with Image.open(path) as sheet:
            widths.append(sheet.width)
    assert widths[0] > widths[1]


def test_a_report_takes_one_image_apart(run, tiny_preset, pictures, tmp_path):
    page = tmp_path / "anatomy.html"
    code, out, _ = run("explain", tiny_preset, pictures / "one.png", "--report", page)
    assert code == 0
    assert str(page) in out.replace("\n", "")
    facts, arrays = read_page(page.read_text("utf-8"))
    assert sorted(each["name"] for each in facts["classes"]) == ["cat", "dog", "owl"]
    assert arrays["tokens"].shape[0] == 3
    before = page.read_bytes()
    for typed, expected, message in [
        ((tiny_preset, pictures / "one.png", "--report", page), 6, "nothing is overwritten"),
        ((tiny_preset, pictures, "--report", tmp_path / "new.html"), 2, "give one image file"),
        ((tiny_preset, pictures / "none.png", "--report", tmp_path / "new.html"), 6, "none.png"),
    ]:
        code, _, err = run("explain", *typed)
        assert (code, message in err.replace("\n", "")) == (expected, True), err
    assert page.read_bytes() == before
    assert not (tmp_path / "new.html").exists()
