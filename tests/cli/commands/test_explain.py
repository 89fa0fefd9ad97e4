import json

import numpy as np
import pytest
from explain.pages import read_page
from PIL import Image

import vit_keras as vk


@pytest.fixture
def pictures(tmp_path, rng):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("one", "two"):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype("uint8")).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("method", ["attention", "relevance"])
def test_a_folder_is_drawn(run, tiny_preset, pictures, tmp_path, method):
    target = tmp_path / "seen.png"
    code, out, _ = run("explain", tiny_preset, pictures, "--method", method, "--out", target, "--json")
    assert code == 0
    found = json.loads(out)
    assert [each["file"] for each in found["images"]] == [str(pictures / "one.png"), str(pictures / "two.png")]
    assert all(each["class"] in ("cat", "dog", "owl") for each in found["images"])
    assert np.asarray(Image.open(target).convert("RGB")).std() > 10


def test_packed_images_are_drawn_each_on_its_own_grid(run, pictures, tmp_path):
    config = vk.ViTConfig(
        image_size=16, patch_size=4, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=24, max_num_patches=20
    )
    vk.save_preset(vk.vit(config, num_classes=2), tmp_path / "packed", class_names=["cat", "dog"])
    Image.new("RGB", (20, 80)).save(pictures / "tall.png")
    code, out, _ = run("explain", tmp_path / "packed", pictures, "--out", tmp_path / "seen.png", "--json")
    assert code == 0
    assert len(json.loads(out)["images"]) == 3
    assert np.asarray(Image.open(tmp_path / "seen.png").convert("RGB")).std() > 10
    page = tmp_path / "page.html"
    code, out, _ = run("explain", tmp_path / "packed", pictures / "tall.png", "--report", page, "--json")
    assert (code, json.loads(out)) == (0, {"page": str(page)})
    assert page.is_file()


def test_unreadable_images_are_named_and_skipped(run, tiny_preset, pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"<html>")
    code, out, err = run("explain", tiny_preset, pictures, "--out", tmp_path / "seen.png")
    assert code == 3
    assert "broken.png" in err
    assert "two.png" in out
    assert (tmp_path / "seen.png").is_file()


def test_wrong_arguments_are_refused_and_nothing_is_overwritten(refused, tiny_preset, pictures, tmp_path):
    taken, page, image = tmp_path / "taken.png", tmp_path / "new.html", pictures / "one.png"
    taken.write_bytes(b"mine")
    (tmp_path / "empty").mkdir()
    for typed, expected, message in (
        ((pictures, "--out", taken), 6, "nothing is overwritten"),
        ((pictures, "--method", "guess"), 2, "--method must be one of attention, rollout, relevance"),
        ((pictures, "--method", "attention", "--layer", 7), 2, "no block 7"),
        ((tmp_path / "empty",), 2, "contains no images"),
        ((image, "--report", taken), 6, "nothing is overwritten"),
        ((pictures, "--report", page), 2, "give one image file"),
        ((pictures / "none.png", "--report", page), 6, "none.png"),
    ):
        out = [] if "--out" in typed else ["--out", tmp_path / "new.png"]
        refused(expected, message, "explain", tiny_preset, *typed, *out)
    assert taken.read_bytes() == b"mine"
    assert not (tmp_path / "new.png").exists()
    assert not page.exists()


def test_two_models_are_drawn_side_by_side(run, tiny_preset, pictures, tmp_path):
    both, alone = tmp_path / "both.png", tmp_path / "alone.png"
    code, out, _ = run("explain", tiny_preset, pictures, "--against", "vit_micro_patch4_28", "--out", both, "--json")
    assert code == 0
    found = json.loads(out)["images"]
    assert all(each["class"] in ("cat", "dog", "owl") and each["against"] == {} for each in found)
    run("explain", tiny_preset, pictures, "--out", alone)
    with Image.open(both) as wide, Image.open(alone) as narrow:
        assert wide.width > narrow.width


def test_a_report_shows_one_forward_pass(run, tiny_preset, pictures, tmp_path):
    page = tmp_path / "anatomy.html"
    code, out, _ = run("explain", tiny_preset, pictures / "one.png", "--report", page)
    assert code == 0
    assert str(page) in out.replace("\n", "")
    facts, arrays = read_page(page.read_text("utf-8"))
    assert sorted(each["name"] for each in facts["classes"]) == ["cat", "dog", "owl"]
    assert arrays["tokens"].shape[0] == 3


def test_pictures_get_the_next_free_name_or_replace_the_named_one(run, tiny_preset, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("explained.png", "explained-2.png"):
        assert f"picture  {expected}" in run("explain", tiny_preset, pictures / "one.png")[1]
    first = (tmp_path / "explained.png").read_bytes()
    code, out, _ = run("explain", tiny_preset, pictures / "two.png", "--out", "explained.png", "--overwrite")
    assert (code, "picture  explained.png" in out) == (0, True)
    assert (tmp_path / "explained.png").read_bytes() != first
    assert not (tmp_path / "explained-3.png").exists()
