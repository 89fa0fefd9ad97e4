import os
import subprocess
import sys

import pytest

from vit_keras.cli.commands import list as list_module

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]
COMMANDS = (
    "list", "info", "recipes", "train", "finetune", "tune", "evaluate", "predict", "bench", "explain", "convert", "verify", "data",
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["info", "vit_base_patch16_224"], ["recipes"], ["recipes", "deit"], ["--help"], ["train", "--help"]],
)
def test_commands_without_a_model_import_no_keras(arguments):
    code = (
        "import sys\n"
        "from vit_keras.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'matplotlib', 'tensorflow_datasets'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_command_the_help_is_shown(run):
    _, out, err = run()
    assert all(command in out + err for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert ("--debug" in out) == (command != "data")
    assert ("--json" in out) == (command not in ("convert", "data"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lst"], "lst"), (["info"], "NAME"), (["list", "--jsn"], "--jsn"), (["train", "--epochs", "many"], "--epochs"),
        (["predict"], "MODEL"), (["predict", "run"], "IMAGES"),
    ],
)  # fmt: skip
def test_usage_errors_exit_2_and_name_the_argument(run, arguments, expected):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert expected in err.upper() if expected.isupper() else expected in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (RuntimeError("something odd"), 1, "This is a bug in vit-keras: RuntimeError: something odd"),
        (MemoryError("12 GiB"), 7, "Out of memory (12 GiB)"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_other_errors_have_their_exit_code_and_a_traceback_only_with_debug(run, monkeypatch, error, expected, message):
    def broken(*arguments, **keywords):
        raise error

    monkeypatch.setattr(list_module, "list_presets", broken)
    code, _, err = run("list")
    assert (code, message in err, "Traceback" in err) == (expected, True, False)
    if expected != 130:
        assert "Traceback (most recent call last)" in run("list", "--debug")[2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_reader_that_is_gone_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "list"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == ""
