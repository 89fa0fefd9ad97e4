import json
import signal
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]
OPTIONS = ["--limit", "192", "--method", "head_first", "--epochs", "6", "--batch-size", "32", "--precision", "float32"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "MODEL and SOURCE missing: vit-keras finetune MODEL SOURCE"),
        (("vit_pico_patch4_32", "emoji", "--set", "learning_rate"), "--set learning_rate: expected FIELD=VALUE"),
        (("vit_pico_patch4_32", "emoji", "--limit", 64, "--set", "learn_rate=1"), "'learning_rate'"),
    ],
)
def test_missing_or_wrong_arguments_exit_2(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    refused(2, message, "finetune", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_preset_directory_is_finetuned_on_a_folder_and_evaluated(run, tiny_preset, image_folder, tmp_path):
    arguments = ("--method", "linear_probe", "--run-dir", tmp_path / "run", "--set", 'class_weights="balanced"')
    code, out, err = run("finetune", tiny_preset, image_folder, *arguments)
    assert code == 0, err
    assert "choice   method linear_probe: as asked" in out
    assert "choice   class_weights balanced: as asked" in out
    assert f"report             {tmp_path / 'run'}/report.html" in out
    code, out, _ = run("evaluate", tmp_path / "run", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["test_accuracy"] == result["recorded"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_after_sigterm_a_resumed_run_ends_in_the_same_bits(run, refused, small_preset, divide, tmp_path):
    divide(2)  # in this process as in the one that it starts
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    finetune = ["finetune", small_preset, "emoji", *OPTIONS]
    command = [*COMMAND, *finetune, "--run-dir", str(stopped)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch   2/6"):
            process.send_signal(signal.SIGTERM)
            break
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert f"vit-keras finetune --resume --run-dir {stopped}" in err
    refused(2, "epochs: 6 then, 5 now", "finetune", "--resume", "--run-dir", stopped, "--epochs", 5)
    for arguments in (("finetune", "--resume", "--run-dir", stopped), (*finetune, "--run-dir", whole)):
        code, _, err = run(*arguments)
        assert code == 0, err
    weights = [folder / "model" / "model.safetensors" for folder in (stopped, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
