import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "MODEL and SOURCE missing: vit-keras pretrain MODEL SOURCE"),
        (("test_vit", "emoji", "--method", "mea"), "Did you mean 'mae'?"),
        (("test_vit", "emoji", "--epochs", 0), "--epochs must be at least 1, got 0"),
        (("tset_vit", "emoji"), "There is no preset 'tset_vit'"),
        (("test_vit", "emoji", "--resume"), "--resume needs --run-dir DIR"),
    ],
)
def test_missing_or_wrong_arguments_exit_2(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    refused(2, message, "pretrain", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_does_not_exist_exits_3(refused, tmp_path):
    refused(3, "there is no such folder or file", "pretrain", "test_vit", "emoji", tmp_path / "photos")


@pytest.fixture
def folder(tmp_path):
    """`photos` with 36 images in folders of no meaning, one of them damaged, and `labeled` with 16 in two classes."""
    root, rng = tmp_path, np.random.default_rng(0)

    def save(path, *, slope):
        path.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.linspace(0, 255, 40)[None, ::slope, None]
        Image.fromarray((ramp + rng.normal(0, 30, (40, 40, 3))).clip(0, 255).astype("uint8")).save(path)

    for index in range(36):
        save(root / "photos" / f"{index % 3}" / f"{index}.png", slope=1 if index % 2 else -1)
    for index in range(16):
        save(root / "labeled" / ("up", "down")[index % 2] / f"{index}.png", slope=1 if index % 2 else -1)
    (root / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_a_run_that_is_killed_is_resumed_to_the_same_bits_and_used_by_all_commands(
    run, folder, small_preset, divide, monkeypatch
):
    divide(2)  # in this process as in the one that it starts

    def call(*arguments):
        code, out, err = run(*arguments)
        assert code == 0, err
        return out

    monkeypatch.chdir(folder)
    options = ["pretrain", small_preset, "photos", "--epochs", "5", "--batch-size", "16", "--precision", "float32"]
    stopped = subprocess.Popen(
        [*COMMAND, *options, "--run-dir", "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in stopped.stdout:
        if line.startswith("epoch   1/5"):
            stopped.send_signal(signal.SIGTERM)
            break
    _, err = stopped.communicate(timeout=300)
    assert stopped.returncode == 75, err
    assert "vit-keras pretrain --resume --run-dir run" in err
    resumed = call("pretrain", "--resume", "--run-dir", "run")
    assert "next               vit-keras finetune run YOUR_LABELED_FOLDER" in resumed
    assert "training from scratch is likely as good" in resumed
    printed = json.loads(call("pretrain", "--config", "run/run.toml", "--run-dir", "whole", "--json"))
    record = json.loads((folder / "run" / "run.json").read_text())
    assert printed["val_loss"] == record["results"]["val_loss"]
    assert (folder / "run" / "figures" / "reconstructions.png").is_file()
    assert any("broken.png" in note for note in record["data"]["notes"])
    weights = [folder / name / "model" / "model.safetensors" for name in ("run", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert "test accuracy" in call("finetune", "run", "labeled", "--epochs", 1, "--run-dir", "tuned")
    assert "random weights" in call("evaluate", "run", "labeled", "--features")
    call("explain", "tuned", "photos/0/0.png")
    call("features", "run", "labeled", "--out", "features.npz")
    call("export", "run", "encoder.onnx")
