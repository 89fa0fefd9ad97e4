import pytest
import typer

from vit_keras.cli.commands.finetune import finetune_command
from vit_keras.cli.commands.tune import tune_command
from vit_keras.cli.options import typed_options
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError


def parse(command, *arguments):
    """Returns the options that a command line gives, without running the command."""
    app = typer.Typer()
    app.command(command.__name__.removesuffix("_command"))(command)
    app.callback()(lambda: None)
    found = typer.main.get_command(app).commands[command.__name__.removesuffix("_command")]
    return typed_options(found.make_context(found.name, [str(each) for each in arguments]))


@pytest.fixture
def config(tmp_path):
    return tmp_path / "run.toml"


def test_a_file_says_what_the_command_line_would(config):
    config.write_text(
        'command = "finetune"\nmodel = "vit_nano_conv8_32"\nsource = "emoji"\nbatch-size = 32\nlimit = 8\n'
        'accept-license = true\n[set]\nlearning_rate = 3e-4\noptimizer = "sgd"\npatience = 3\n'
    )
    typed = (
        "vit_nano_conv8_32", "emoji", "--batch-size", 32, "--limit", 8, "--accept-license",
        "--set", "learning_rate=3e-4", "--set", "optimizer=sgd", "--set", "patience=3",
    )  # fmt: skip
    assert parse(finetune_command, "--config", config) == parse(finetune_command, *typed)


def test_typed_options_win_and_lists_and_underscores_are_read(config):
    config.write_text('source = "emoji"\nobjective = ["val_accuracy", "params"]\nimage_size = 64\nepochs = 3\n')
    assert parse(tune_command, "mine", "--config", config, "--epochs", 5) == {
        "data": "mine", "objective": ["val_accuracy", "params"], "image_size": 64, "epochs": 5,
    }  # fmt: skip
    config.write_text('objective = "val_loss"\n')
    assert parse(tune_command, "--config", config) == {"objective": ["val_loss"]}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("epoch = 3", InvalidArgumentError, r"run\.toml: tune has no option 'epoch'; the closest are epochs"),
        ('command = "train"', InvalidArgumentError, r"vit-keras train --config .*run\.toml"),
        ("epochs = = 3", CorruptFileError, "not a TOML file"),
        ("resume = true", InvalidArgumentError, "'resume'"),
        (None, StorageError, "could not be read"),
    ],
)
def test_files_that_cannot_be_used_are_refused(config, text, kind, message):
    if text is not None:
        config.write_text(text)
    with pytest.raises(kind, match=message):
        parse(tune_command, "--config", config)


def test_a_value_of_the_wrong_type_is_named(config, refused):
    config.write_text('epochs = "many"')
    refused(2, "--epochs", "train", "--config", config)
