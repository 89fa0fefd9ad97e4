import sys

import pytest
import typer

from vit_keras.cli.main import build_app
from vit_keras.cli.wording import name_flags, name_program

COMMANDS = typer.main.get_command(build_app()).commands


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("tune", "pass image_size, such as image_size=224.", "pass --image-size, such as --image-size 224."),
        ("tune", "resume=True needs the run_dir of the search", "--resume needs the --run-dir of the search"),
        ("tune", "run_dir: runs/a holds", "--run-dir: runs/a holds"),
        ("tune", "image_size=(0, 3): expected", "--image-size (0, 3): expected"),
        ("tune", "budget='soon': expected a time", "--budget 'soon': expected a time"),
        ("train", "epochs must be positive; batch_size must be", "--epochs must be positive; --batch-size must be"),
        ("train", "10 epochs in my_run/batch_size.txt", "10 epochs in my_run/batch_size.txt"),
        ("train", "the class 'batch_size' and \"run_dir\"", "the class 'batch_size' and \"run_dir\""),
        ("train", "pixel_range=(0, 1) is for arrays", "pixel_range=(0, 1) is for arrays"),
        ("list", "weights and epochs and batch_size", "weights and epochs and batch_size"),
    ],
)
def test_messages_name_the_flags_of_the_command(command, message, expected):
    assert name_flags(message, COMMANDS[command].params) == expected


def test_options_of_reading_are_flags_of_data_check():
    parameters = COMMANDS["data"].commands["check"].params
    assert name_flags("or ReadOptions(max_error_rate=0.2).", parameters) == "or --max-error-rate 0.2."


def test_commands_are_named_as_the_program_was_started(tmp_path, monkeypatch):
    message = (
        "`vit-keras list` shows all; install vit-keras-zoo; next vit-keras predict a b. This is a bug in vit-keras: x"
    )
    assert name_program(message) == message  # run as a function
    there = tmp_path / ".venv" / "bin"
    there.mkdir(parents=True)
    (there / "vit-keras").write_text("#!/bin/sh\n")
    (there / "vit-keras").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [".venv/bin/vit-keras", "list"])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert name_program(message) == (
        "`.venv/bin/vit-keras list` shows all; install vit-keras-zoo; next .venv/bin/vit-keras predict a b. This is a bug in vit-keras: x"
    )
    monkeypatch.setenv("PATH", str(there))
    assert name_program(message) == message
    monkeypatch.setattr(sys, "argv", [str(there / "vit-keras"), "list"])  # as the shell that found it passes it
    assert name_program(message) == message


def test_errors_of_a_command_name_its_flags(refused, make_folder):
    refused(3, "pass --image-size, such as --image-size 224", "tune", make_folder({"cat": 3, "dog": 3}))
