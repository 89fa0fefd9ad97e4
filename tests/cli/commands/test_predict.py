import csv
import io
import json
import os
import re
import shutil
import sys

import pytest

import vit_keras as vk


@pytest.fixture
def bad_files(tmp_path, picture):
    content = {
        "empty.jpg": b"", "text.png": b"hello", "page.jpg": b"<!DOCTYPE html>", "half.png": picture.read_bytes()[:60],
    }  # fmt: skip
    for name, written in content.items():
        (tmp_path / name).write_bytes(written)
    return [tmp_path / name for name in (*content, "nowhere.webp")]


def test_predict_prints_what_vk_predict_returns(run, tiny_preset, picture, tmp_path):
    (expected,) = vk.predict(tiny_preset, picture, top=2)
    code, out, err = run("predict", tiny_preset, picture, "--top", 2)
    assert (code, err) == (0, "")
    assert out == f"{expected}\n"
    (row,) = json.loads(run("predict", tiny_preset, picture, "--json")[1])
    assert (row["file"], len(row["classes"])) == (str(picture), 3)
    assert [item["name"] for item in row["classes"]][:2] == list(expected.classes)
    assert sum(item["probability"] for item in row["classes"]) == pytest.approx(1)
    shutil.copytree(tiny_preset, tmp_path / "run" / "model")
    assert run("predict", tmp_path / "run", picture, "--top", 2)[1] == out


def test_bad_files_are_named_and_skipped(run, tiny_preset, picture, bad_files, snapshot):
    before = snapshot(picture.parent)
    code, out, err = run("predict", tiny_preset, *bad_files[:3], picture, *bad_files[3:])
    assert code == 3
    assert out.splitlines()[0] == str(picture)
    assert len(re.findall(r"^ +[\d.]+% ", out, flags=re.MULTILINE)) == 3
    for line, path in zip(err.splitlines(), bad_files, strict=True):
        assert line.startswith(f"skipped {path}: ")
    code, out, err = run("predict", tiny_preset, *bad_files, picture, "--json")
    assert (code, err) == (3, "")
    rows = json.loads(out)
    assert [row["file"] for row in rows] == [str(path) for path in (*bad_files, picture)]
    assert [set(row) - {"file"} for row in rows] == [{"error"}] * len(bad_files) + [{"classes"}]
    assert snapshot(picture.parent) == before


def test_a_folder_of_classes_is_classified_to_a_file_with_its_accuracy(run, tiny_preset, image_folder, tmp_path):
    expected = vk.predict(tiny_preset, image_folder, top=None)
    arguments = ("predict", tiny_preset, f"{image_folder}/**/*.png", "--all", "--out", tmp_path / "rows.csv")
    code, out, err = run(*arguments)
    assert code == 0, err
    assert out.splitlines()[0] == f"predictions  {tmp_path / 'rows.csv'} (11 images)"
    assert f"accuracy {expected.accuracy:.2%} of 11 images whose folder or list names the class" in out
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "image", "class", "probability", "truth", "error", "probability_cat", "probability_dog", "probability_owl",
    ]  # fmt: skip
    for row, prediction in zip(rows, expected, strict=True):
        assert (row["image"], row["class"], row["truth"]) == (
            prediction.image,
            prediction.classes[0],
            prediction.truth,
        )
        found = {name: float(row[f"probability_{name}"]) for name in prediction.classes}
        assert found == pytest.approx(dict(zip(prediction.classes, prediction.probabilities, strict=True)), rel=1e-4)
    before = (tmp_path / "rows.csv").read_bytes()
    code, _, err = run(*arguments)
    assert (code, "nothing is overwritten" in err) == (6, True)
    assert (tmp_path / "rows.csv").read_bytes() == before


def test_a_list_on_stdin_is_classified_and_a_missing_file_is_a_row_with_its_error(
    run, tiny_preset, picture, monkeypatch
):
    for content in (f"{picture}\nnowhere.png\n", f"{picture}\0nowhere.png\0"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        code, out, _ = run("predict", tiny_preset, "-", "--json")
        assert code == 3
        first, second = json.loads(out)
        assert (first["file"], len(first["classes"])) == (str(picture), 3)
        assert second == {"file": "nowhere.png", "error": "nowhere.png: there is no such file."}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    code, _, err = run("predict", tiny_preset, "-")
    assert (code, "there were none" in err) == (2, True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not UTF-8")
def test_files_may_have_any_name(run, tiny_preset, picture):
    names = ["été 猫 😀.png", "[red]a b.png", "new\nline.png", "%d {}.png", "-.png", os.fsdecode(b"caf\xe9.png")]
    paths = [shutil.copy(picture, picture.with_name(name)) for name in names]
    code, out, err = run("predict", tiny_preset, *paths)
    assert (code, err) == (0, "")
    assert [str(path) in out for path in paths[:-1]] == [True] * 5
    assert "caf" in out
    for content, expected in ((picture.read_bytes(), 0), (b"", 3)):
        paths[-1].write_bytes(content)
        for options in ([], ["--json"]):
            code, out, err = run("predict", tiny_preset, paths[-1], *options)
            assert (code, "caf" in out + err) == (expected, True), err


def test_models_that_cannot_be_used_are_named(run, refused, tiny_preset, tiny_config, picture, interrupted, tmp_path):
    damaged, mislabeled = (shutil.copytree(tiny_preset, tmp_path / name) for name in ("damaged", "mislabeled"))
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:-9])
    (mislabeled / "labels.json").write_text('["cat"]')
    headless = vk.save_preset(vk.vit(tiny_config), tmp_path / "headless")
    for model, expected, message in (
        (tmp_path / "nowhere", 6, "nowhere: there is no such file or directory"),
        (interrupted, 2, f"vit-keras train --resume --run-dir {interrupted}"),
        (damaged, 4, "model.safetensors"),
        (mislabeled, 4, "labels.json"),
        (headless, 2, "no head"),
    ):
        assert refused(expected, message, "predict", model, picture) == ""
    assert "StorageError" in run("predict", tmp_path / "nowhere", picture, "--debug")[2]
