import os
import subprocess
import sys

import pytest

from vit_keras.cli.commands import list as list_module

COMMANDS = (
    "list", "info", "recipes", "train", "finetune", "tune", "evaluate", "predict", "features", "bench", "explain", "serve", "convert", "verify", "data",
)  # fmt: skip


def test_commands_without_a_model_import_no_keras(make_folder):
    commands = [
        ["list"], ["info", "vit_base_patch16_224"], ["recipes"], ["recipes", "deit"], ["--help"], ["train", "--help"],
        ["data", "check", str(make_folder({"cat": 3, "dog": 3}))],
    ]  # fmt: skip
    code = (
        "import sys, vit_keras.data.scan.worker\n"
        "from vit_keras.cli import main\n"
        f"for arguments in {commands}:\n"
        "    try:\n"
        "        main(arguments)\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code, (arguments, ended.code)\n"
        "    heavy = {'keras', 'tensorflow', 'jax', 'torch', 'matplotlib', 'tensorflow_datasets'} & sys.modules.keys()\n"
        "    assert not heavy, (arguments, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["list"], set()),
        (["info", "vit_base_patch16_224"], set()),
        (["recipes"], {"PIL"}),
    ],
)
def test_light_commands_import_neither_arrays_nor_what_checks_values(arguments, allowed):
    code = (
        "import sys\n"
        "from vit_keras.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit:\n"
        "    found = {'numpy', 'h5py', 'PIL', 'pydantic', 'psutil'} & sys.modules.keys()\n"
        f"    assert found == {allowed}, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_help(run):
    _, out, err = run()
    assert all(command in out + err for command in COMMANDS)
    for command in COMMANDS:
        code, out, _ = run(command, "--help")
        assert (code, "--debug" in out, "--json" in out) == (0, command != "data", command not in ("convert", "data"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lst"], "lst"), (["list", "--jsn"], "--jsn"), (["train", "--epochs", "many"], "--epochs"),
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
    command = [sys.executable, "-c", "from vit_keras.cli import main; main(['list'])"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
