import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image


@pytest.fixture
def root(make_folder):
    return make_folder({"cat": 12, "dog": 12})


def add_broken(root, count):
    for index in range(count):
        (root / "cat" / f"broken_{index}.png").write_bytes(b"<html>")


def test_a_folder_is_checked_and_left_unchanged(run, root, snapshot):
    before = snapshot(root)
    code, out, err = run("data", "check", root)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{root}: 24 usable images in 2 classes"
    for line, name in zip(lines[-2:], ("manifest.jsonl", "quarantine.csv"), strict=True):
        assert line.split()[-1].endswith(name)
        assert os.path.isfile(line.split()[-1])
    code, out, err = run("data", "check", root, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["classes"] == {"cat": {"all": 12}, "dog": {"all": 12}}
    assert snapshot(root) == before


def test_up_to_the_error_rate_bad_files_are_listed_and_above_it_exit_3(run, root):
    add_broken(root, 1)
    code, out, _ = run("data", "check", root)
    assert code == 0
    assert "cat/broken_0.png: not a supported image (it looks like HTML)" in out
    add_broken(root, 3)
    for options in ((), ("--json",)):
        code, out, err = run("data", "check", root, *options)
        assert code == 3
        assert "3 of 27" in err
        assert "Traceback" not in err
        assert "broken_0" in out
    assert run("data", "check", root, "--max-error-rate", "0.2")[0] == 0


def test_strict_exits_3_for_a_conflicting_label(run, root):
    shutil.copy(root / "cat" / "00.png", root / "dog" / "same.png")
    assert run("data", "check", root)[0] == 0
    code, _, err = run("data", "check", root, "--strict")
    assert code == 3
    assert "more than one label: 1" in err


def test_a_report_is_written_once(run, root, tmp_path):
    code, out, _ = run("data", "check", root, "--report", tmp_path / "report.html")
    assert code == 0
    assert out.splitlines()[-1] == f"report       {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    code, _, err = run("data", "check", root, "--report", tmp_path / "report.html")
    assert code == 6
    assert "exists" in err


def test_limits_are_applied(run, root):
    Image.new("RGB", (10, 100)).save(root / "cat" / "narrow.png")
    assert run("data", "check", root)[1].startswith(f"{root}: 25 usable")
    assert "narrow.png" in run("data", "check", root, "--max-aspect", "5")[1]
    assert run("data", "check", root, "--min-side", "1000")[0] == 3
    for options in (("--max-error-rate", "2"), ("--min-side", "0"), ("--max-aspect", "0.5")):
        assert run("data", "check", root, *options)[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need POSIX")
def test_links_are_followed_only_with_the_option(run, root, tmp_path):
    (tmp_path / "outside").mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "outside" / "a.png")
    (root / "dog" / "away").symlink_to(tmp_path / "outside")
    code, out, _ = run("data", "check", root)
    assert code == 0
    assert "dog/away: a symbolic link, not followed" in out
    assert run("data", "check", root, "--follow-links")[1].startswith(f"{root}: 25 usable")


def test_an_empty_class_is_refused_or_left_out(run, root):
    (root / "owl").mkdir()
    code, _, err = run("data", "check", root)
    assert code == 3
    assert "owl: no image in this class folder" in err
    assert run("data", "check", root, "--drop-empty-classes")[0] == 0


def test_a_missing_folder_or_one_without_classes_exits_3(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, expected in (("nowhere", "there is no such folder"), ("empty", "two class folders")):
        code, out, err = run("data", "check", tmp_path / source)
        assert (code, out, expected in err) == (3, "", True), err
    assert "Traceback" in run("data", "check", tmp_path / "nowhere", "--debug")[2]


def test_control_characters_in_names_are_escaped(run, root):
    (root / "cat" / "\x1b[31mred\n.png").write_bytes(b"x")
    out = run("data", "check", root)[1]
    assert "\x1b" not in out
    assert r"cat/\x1b[31mred\n.png" in out


def test_checking_needs_no_keras(root):
    code = (
        "import sys\nfrom vit_keras.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, sorted({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "check", str(root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert done.stderr == ""
