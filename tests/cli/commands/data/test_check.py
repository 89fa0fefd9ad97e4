import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def root(make_folder):
    return make_folder({"cat": 12, "dog": 12})


def test_a_folder_is_checked_and_left_unchanged(run, root, snapshot):
    before = snapshot(root)
    code, out, err = run("data", "check", root)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{root}: 24 usable images in 2 classes"
    assert lines[-1].startswith("ready to train: 24 images in 2 classes")
    assert os.path.basename(lines[-2].split()[-1]) == "manifest.jsonl"
    assert "quarantine.csv" not in out
    code, out, err = run("data", "check", root, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["classes"] == {"cat": {"all": 12}, "dog": {"all": 12}}
    assert snapshot(root) == before


def test_up_to_the_error_rate_bad_files_are_listed_and_above_it_exit_3(run, root):
    (root / "cat" / "\x1b[31mred\n.png").write_bytes(b"<html>")
    code, out, _ = run("data", "check", root)
    assert code == 0
    assert r"cat/\x1b[31mred\n.png: not a supported image (it looks like HTML)" in out
    assert "\x1b" not in out
    assert os.path.isfile(re.search(r"left out +(\S+quarantine\.csv)", out)[1])
    assert out.splitlines()[-1] == "ready to train: 24 images in 2 classes; but look at the 1 error above"
    for index in range(2):
        (root / "cat" / f"broken_{index}.png").write_bytes(b"<html>")
    for options in ((), ("--json",)):
        code, out, err = run("data", "check", root, *options)
        assert (code, "3 of 27" in err, "Traceback" in err, "broken_0" in out) == (3, True, False, True)
        assert out.splitlines()[-1].startswith("not ready to train") == (options == ())
    assert run("data", "check", root, "--max-error-rate", "0.2")[0] == 0


def test_a_report_is_written_once(run, root, tmp_path):
    report = tmp_path / "report.html"
    code, out, _ = run("data", "check", root, "--report", report)
    assert (code, out.splitlines()[-2]) == (0, f"report       {report}")
    assert report.read_text("utf-8").startswith("<!DOCTYPE html>")
    report.write_text("mine")
    code, _, err = run("data", "check", root, "--report", report)
    assert (code, "exists" in err, "--overwrite" in err, report.read_text()) == (6, True, True, "mine")
    assert run("data", "check", root, "--report", report, "--overwrite")[0] == 0
    assert report.read_text("utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need POSIX")
def test_options_reach_the_check(run, root, tmp_path):
    (tmp_path / "outside").mkdir()
    shutil.copy(root / "cat" / "00.png", tmp_path / "outside" / "same.png")
    (root / "dog" / "away").symlink_to(tmp_path / "outside")
    Image.new("RGB", (10, 100)).save(root / "cat" / "narrow.png")
    (root / "owl").mkdir()
    given = ["--drop-empty-classes"]
    for options, expected, message in (
        ([], 3, "owl: no image in this class folder"),
        (given, 0, "25 usable"),
        (given, 0, "dog/away: a symbolic link, not followed"),
        ([*given, "--max-aspect", "5"], 0, "narrow.png"),
        ([*given, "--min-side", "1000"], 3, ""),
        ([*given, "--follow-links"], 0, "26 usable"),
        ([*given, "--follow-links", "--strict"], 3, "more than one label: 1"),
        (["--max-error-rate", "2"], 2, ""),
        (["--min-side", "0"], 2, ""),
        (["--max-aspect", "0.5"], 2, ""),
    ):
        code, out, err = run("data", "check", root, *options)
        assert (code, message in out + err) == (expected, True), (options, out, err)


def test_a_missing_folder_or_one_without_classes_exits_3(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, expected in (("nowhere", "there is no such folder"), ("empty", "two class folders")):
        code, out, err = run("data", "check", tmp_path / source)
        assert (code, out, expected in err) == (3, "", True), err
    assert "Traceback" in run("data", "check", tmp_path / "nowhere", "--debug")[2]


def test_a_table_of_files_elsewhere_is_checked(run, root, tmp_path, snapshot):
    (tmp_path / "tables").mkdir()
    (root / "cat" / "broken.png").write_bytes(b"<html>")
    rows = [f"{path},{path.parent.name},{index}" for index, path in enumerate(sorted(root.rglob("*.png")))]
    table = tmp_path / "tables" / "all.csv"
    table.write_text("\n".join(["photo;x.png;kind;row", *(f"x;{row.replace(',', ';')}" for row in rows)]))
    before = snapshot(tmp_path / "tables")
    options = ("--image-column", "x.png", "--label-column", "kind")
    code, out, err = run("data", "check", table, *options, "--report", tmp_path / "report.html")
    assert code == 0, err
    assert out.splitlines()[0] == f"{table}: 24 usable images in 2 classes"
    assert f"25 of 25 files are outside {tmp_path / 'tables'}" in out
    assert f"{root}/cat/broken.png: not a supported image (it looks like HTML)" in out
    (quarantine,) = [line.split()[-1] for line in out.splitlines() if line.endswith("quarantine.csv")]
    assert f'"{root}/cat/broken.png","cat",""' in Path(quarantine).read_text()
    report = (tmp_path / "report.html").read_text("utf-8")
    assert report.count("data:image/") >= 8
    assert "all.csv" in report
    assert snapshot(tmp_path / "tables") == before
    code, _, err = run("data", "check", table, *options, "--contained")
    assert (code, "25 rows can't be used" in err, "--contained" in err) == (3, True, True)
    assert run("data", "check", table, *options, "--contained", "--image-dir", root)[0] == 0
    code, _, err = run("data", "check", table, "--image-column", "photo", "--label-column", "kind")
    assert (code, "--image-dir" in err) == (3, True)
    code, _, err = run("data", "check", root, *options)
    assert (code, "is for a table of files and labels" in err) == (2, True)
