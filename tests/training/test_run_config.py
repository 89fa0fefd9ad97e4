import tomllib

import pytest

from vit_keras.training.run_config import format_run_config, write_run_config

pytestmark = pytest.mark.any_backend

OPTIONS = {
    "data": 'a "quoted" \\ path\n/é\x7f', "preset": "vit_nano_conv8_32", "recipe": "", "precision": "auto", "epochs": 3, "batch_size": 32, "limit": None,
    "seed": 0, "accept_license": True, "offline": False, "objective": ["val_accuracy", "params"],
    "changes": {"learning_rate": 3e-4, "optimizer": "sgd", "augmentation": {"rotation": 5.0}, "odd name": [1, 2], "patience": None},
}  # fmt: skip


def test_a_toml_reader_finds_every_option_that_has_a_value():
    assert tomllib.loads(format_run_config("finetune", OPTIONS)) == {
        "command": "finetune", "source": OPTIONS["data"], "preset": "vit_nano_conv8_32", "epochs": 3, "batch-size": 32, "seed": 0,
        "accept-license": True, "objective": ["val_accuracy", "params"],
        "set": {"learning_rate": 3e-4, "optimizer": "sgd", "augmentation": {"rotation": 5.0}, "odd name": [1, 2]},
    }  # fmt: skip


@pytest.mark.parametrize("command", ["train", "finetune", "tune"])
def test_what_a_run_writes_is_read_by_its_command(tmp_path, command):
    """Every option of the three commands that defines a result goes through the file and back."""
    import typer

    from vit_keras.cli.main import build_app
    from vit_keras.cli.options import typed_options

    found = typer.main.get_command(build_app()).commands[command]
    given = {
        "train": [
            "photos",
            "--preset",
            "vit_nano_conv8_32",
            "--recipe",
            "deit",
            "--epochs",
            "3",
            "--precision",
            "float32",
        ],
        "finetune": ["vit_tiny_patch16_224", "photos", "--weights", "t", "--method", "lora", "--set", "patience=3"],
        "tune": [
            "photos",
            "--image-size",
            "32",
            "--objective",
            "val_loss",
            "--objective",
            "params",
            "--budget",
            "2 trials",
        ],
    }[command]
    options = typed_options(found.make_context(command, [*given, "--limit", "5", "--seed", "0"]))
    write_run_config(tmp_path, command, options)
    assert typed_options(found.make_context(command, ["--config", str(tmp_path / "run.toml")])) == options
