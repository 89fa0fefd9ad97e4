import json
import shlex
import signal
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]
TRAIN = [
    "train",
    "--limit",
    "128",
    "--preset",
    "vit_pico_patch4_32",
    "--epochs",
    "4",
    "--batch-size",
    "32",
    "--seed",
    "1",
]


def test_an_existing_run_directory_exits_6_and_is_untouched(run, tmp_path, snapshot):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    code, _, err = run("train", "--run-dir", tmp_path / "run")
    assert code == 6
    assert f"{tmp_path / 'run'} exists, and nothing is overwritten" in err
    assert snapshot(tmp_path) == before


def test_all_bad_options_are_refused_at_once(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = {"epochs": 0, "batch-size": -1, "limit": 0, "seed": -1, "preset": "vit_picco", "precision": "half"}
    code, out, err = run("train", *(part for name, value in bad.items() for part in (f"--{name}", value)))
    assert (code, out) == (2, "")
    for reason in ("epochs", "batch_size", "limit", "seed", "'vit_picco'", "vit_pico", "'half'"):
        assert reason in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", ["./nowhere", "emojis", "someone:their_data"])
def test_data_that_do_not_exist_exit_3(run, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "--data", data)
    assert code == 3
    assert data.removeprefix("./") in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_resuming_needs_a_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("train", "--resume")[0] == 2
    code, _, err = run("train", "--resume", "--run-dir", tmp_path / "nowhere")
    assert code == 6
    assert "nowhere is not a run directory" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"), [("--epochs", 6), ("--seed", 0), ("--precision", "auto"), ("--data", "mnist")]
)
def test_resuming_with_another_value_exits_2_also_if_it_is_the_default(run, interrupted, snapshot, option, value):
    before = snapshot(interrupted)
    code, _, err = run("train", "--resume", "--run-dir", interrupted, option, value)
    assert code == 2
    assert "started with other options" in err
    assert str(value) in err
    assert snapshot(interrupted) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_keeps_finished_epochs_and_the_printed_command_resumes(run, picture, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, *TRAIN], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("epoch   1/4"):
            process.send_signal(signal.SIGINT)
            break
    rest, err = process.communicate(timeout=120)
    assert process.returncode == 75, "".join(printed) + rest + err
    assert "Traceback" not in err
    folder = tmp_path / "runs" / "emoji-1"
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,")
    assert 2 <= len(rows) < 5
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"

    last = err.strip().splitlines()[-1]
    assert last.startswith("Interrupted")
    typed = shlex.split(last[last.index("vit-keras train") :].rstrip("."))[1:]
    resumed = subprocess.run([*COMMAND, *typed, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    result = json.loads(resumed.stdout)
    assert result.keys() == {"run", "test_accuracy", "nearest_neighbour_accuracy", "seconds"}
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3", "4"]

    code, out, _ = run("evaluate", folder, "--json")
    assert code == 0
    assert json.loads(out) == {"test_accuracy": result["test_accuracy"], "recorded": result["test_accuracy"]}
    assert "the same" in run("evaluate", folder)[1]
    assert run("predict", folder, picture)[1].count("%") == 5
    again, out, _ = run(*typed[:-1], folder)
    assert again == 0
    assert "already complete" in out
