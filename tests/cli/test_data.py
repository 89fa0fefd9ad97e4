import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]


@pytest.fixture
def root(make_folder):
    return make_folder({"cat": 12, "dog": 12})


def spoil(root, count):
    for index in range(count):
        (root / "cat" / f"broken_{index}.png").write_bytes(b"<html>")


def snapshot(root):
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in root.rglob("*")}


def test_a_folder_is_checked_and_told_where_the_lists_are(run, root):
    before = snapshot(root)
    code, out, err = run("data", "check", root)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{root}: 24 usable images in 2 classes"
    for line, name in zip(lines[-2:], ("manifest.jsonl", "quarantine.csv"), strict=True):
        assert line.split()[-1].endswith(name)
        assert os.path.isfile(line.split()[-1])
    assert snapshot(root) == before


def test_json_is_one_object(run, root):
    code, out, err = run("data", "check", root, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["classes"] == {"cat": {"all": 12}, "dog": {"all": 12}}


def test_one_bad_file_is_let_pass_and_named(run, root):
    spoil(root, 1)
    code, out, _ = run("data", "check", root)
    assert code == 0
    assert "cat/broken_0.png: not a supported image (it looks like HTML)" in out


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_too_many_bad_files_end_with_3_after_all_is_told(run, root, options):
    spoil(root, 3)
    code, out, err = run("data", "check", root, *options)
    assert code == 3
    assert "3 of 27" in err
    assert "Traceback" not in err
    assert out.count("broken_0.png")
    assert run("data", "check", root, "--max-error-rate", "0.2")[0] == 0


def test_strict_ends_with_3_for_a_conflict(run, root):
    shutil.copy(root / "cat" / "00.png", root / "dog" / "same.png")
    assert run("data", "check", root)[0] == 0
    code, _, err = run("data", "check", root, "--strict")
    assert code == 3
    assert "more than one label: 1" in err


def test_a_report_is_written_once(run, root, tmp_path):
    code, out, _ = run("data", "check", root, "--report", tmp_path / "report.html")
    assert code == 0
    assert out.splitlines()[-1] == f"look at      {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    code, _, err = run("data", "check", root, "--report", tmp_path / "report.html")
    assert code == 6
    assert "exists" in err


def test_limits_are_taken(run, root):
    Image.new("RGB", (10, 100)).save(root / "cat" / "narrow.png")
    assert run("data", "check", root)[1].startswith(f"{root}: 25 usable")
    assert "narrow.png" in run("data", "check", root, "--max-aspect", "5")[1]
    assert run("data", "check", root, "--min-side", "1000")[0] == 3


@pytest.mark.parametrize("options", [("--max-error-rate", "2"), ("--min-side", "0"), ("--max-aspect", "0.5")])
def test_limits_that_are_none_end_with_2(run, root, options):
    assert run("data", "check", root, *options)[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links are of POSIX")
def test_links_are_followed_where_asked(run, root, tmp_path):
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


@pytest.mark.parametrize(("source", "told"), [("nowhere", "there is no such folder"), ("empty", "two class folders")])
def test_what_is_no_data_set_ends_with_3(run, tmp_path, source, told):
    (tmp_path / "empty").mkdir()
    code, out, err = run("data", "check", tmp_path / source)
    assert (code, out) == (3, "")
    assert told in err


def test_debug_shows_the_traceback(run, tmp_path):
    assert "Traceback" in run("data", "check", tmp_path / "nowhere", "--debug")[2]


def test_names_reach_the_terminal_spelled_out(run, root):
    (root / "cat" / "\x1b[31mred\n.png").write_bytes(b"x")
    out = run("data", "check", root)[1]
    assert "\x1b" not in out
    assert r"cat/\x1b[31mred\n.png" in out


def test_checking_from_the_shell_needs_no_keras(root):
    code = (
        "import sys\nfrom vit_keras.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, sorted({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "check", str(root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert done.stderr == ""


def test_without_a_command_the_commands_are_shown(run):
    _, out, err = run("data")
    assert "check" in out + err


def test_show_draws_the_training_images_beside_what_training_makes_of_them(image_folder, tmp_path, run):
    code, out, _ = run(
        "data", "show", image_folder, "--augment", "strong", "--image-size", 16, "--out", tmp_path / "sheet.png"
    )
    assert code == 0
    assert "sheet.png" in out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > sheet.size[1] / 2 > 100


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ("--augment", "extreme"),
            2,
            "There is no augmentation 'extreme': expected one of none, moved, light, medium, strong, 3-augment",
        ),
        (("--image-size", "0"), 3, "image_size=0"),
        (("--out", "sheet.xyz"), 6, "could not be written"),
    ],
)
def test_show_refuses_what_it_cannot_draw(image_folder, tmp_path, monkeypatch, run, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    ended, _, err = run("data", "show", image_folder, "--image-size", "16", *arguments)
    assert ended == code
    assert told in err


def test_show_overwrites_nothing(image_folder, tmp_path, run):
    (tmp_path / "sheet.png").write_bytes(b"mine")
    code, _, err = run("data", "show", image_folder, "--out", tmp_path / "sheet.png")
    assert code == 6
    assert "nothing is overwritten" in err
    assert (tmp_path / "sheet.png").read_bytes() == b"mine"
