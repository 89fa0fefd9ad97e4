import json
import shlex
import signal
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]
OPTIONS = ["--limit", "192", "--epochs", "6", "--batch-size", "32", "--seed", "1"]


def test_an_existing_run_directory_exits_6_and_is_untouched(refused, tmp_path, snapshot):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    refused(6, f"{folder} exists, and nothing is overwritten", "train", "--run-dir", folder)
    assert snapshot(tmp_path) == before


def test_all_bad_options_are_refused_at_once(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = {"epochs": 0, "batch-size": -1, "limit": 0, "seed": -1, "preset": "vit_picco", "precision": "half"}
    code, out, err = run("train", *(part for name, value in bad.items() for part in (f"--{name}", value)))
    assert (code, out) == (2, "")
    for reason in ("--epochs", "--batch-size", "--limit", "--seed", "'vit_picco'", "vit_pico", "'half'"):
        assert reason in err
    assert not list(tmp_path.iterdir())


def test_data_that_do_not_exist_exit_3(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for data in ("./nowhere", "emojis", "someone:their_data"):
        refused(3, data.removeprefix("./"), "train", data)
    assert not list(tmp_path.iterdir())


def test_resuming_needs_a_run(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(2, "", "train", "--resume")
    refused(6, "nowhere is not a run directory", "train", "--resume", "--run-dir", tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_resuming_with_another_value_exits_2_also_if_it_is_the_default(refused, interrupted, snapshot):
    before = snapshot(interrupted)
    for typed in (("--epochs", 6), ("--seed", 0), ("--precision", "auto"), ("mnist",)):
        for message in ("started with other options", str(typed[-1])):
            refused(2, message, "train", "--resume", "--run-dir", interrupted, *typed)
    assert snapshot(interrupted) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_keeps_finished_epochs_and_the_printed_command_resumes(
    run, picture, small_preset, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = [*COMMAND, "train", "--preset", small_preset, *OPTIONS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("epoch   1/6"):
            process.send_signal(signal.SIGINT)
            break
    rest, err = process.communicate(timeout=120)
    assert process.returncode == 75, "".join(printed) + rest + err
    assert "Traceback" not in err
    folder = tmp_path / "runs" / "emoji-1"
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,")
    assert 2 <= len(rows) < 7
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"

    last = err.strip().splitlines()[-1]
    assert last.startswith("Interrupted")
    typed = shlex.split(last[last.index("vit-keras train") :].rstrip("."))[1:]
    code, out, err = run(*typed, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result.keys() == {"run", "test_accuracy", "nearest_neighbour_accuracy", "seconds"}
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", *"123456"]

    code, out, _ = run("evaluate", folder, "--json")
    assert code == 0
    assert json.loads(out) == {"test_accuracy": result["test_accuracy"], "recorded": result["test_accuracy"]}
    assert "the same" in run("evaluate", folder)[1]
    assert run("predict", folder, picture)[1].count("%") == 5
    again, out, _ = run(*typed[:-1], folder)
    assert again == 0
    assert "already complete" in out
