"""Registers the commands; runs one, and ends with its exit code."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from vit_keras.cli.commands.bench import bench_command
from vit_keras.cli.commands.convert import convert_command
from vit_keras.cli.commands.data_check import check_command
from vit_keras.cli.commands.data_show import show_command
from vit_keras.cli.commands.evaluate import evaluate_command
from vit_keras.cli.commands.explain import explain_command
from vit_keras.cli.commands.features import features_command
from vit_keras.cli.commands.finetune import finetune_command
from vit_keras.cli.commands.info import info_command
from vit_keras.cli.commands.list import list_command
from vit_keras.cli.commands.predict import predict_command
from vit_keras.cli.commands.recipes import recipes_command
from vit_keras.cli.commands.train import train_command
from vit_keras.cli.commands.tune import tune_command
from vit_keras.cli.commands.verify import verify_command
from vit_keras.cli.output import print_error
from vit_keras.errors import VitKerasError

# Typer has a click of its own, and exports only subclasses of its usage error.
UsageError: Any = typer.BadParameter.__base__
_INTERRUPTED = 130
_STYLE: Any = {
    "no_args_is_help": True, "add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None,
}  # fmt: skip

app = typer.Typer(name="vit-keras", help="Vision Transformers for Keras: list, train, tune, use, explain.", **_STYLE)
app.command("list")(list_command)
app.command("info")(info_command)
app.command("recipes")(recipes_command)
app.command("train")(train_command)
app.command("finetune")(finetune_command)
app.command("tune")(tune_command)
app.command("evaluate")(evaluate_command)
app.command("predict")(predict_command)
app.command("features")(features_command)
app.command("bench")(bench_command)
app.command("explain")(explain_command)
app.command("convert")(convert_command)
app.command("verify")(verify_command)

data_app = typer.Typer(name="data", help="Check a data set, or look at it.", **_STYLE)
data_app.command("check")(check_command)
data_app.command("show")(show_command)
app.add_typer(data_app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 usage, 3 data, 4 model file, 5 diverged, 6 storage, 7 memory, 75 resumable, 130 interrupted, 1 a bug."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in typed
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides TensorFlow's start-up notes
    try:
        code = app(typed, standalone_mode=False)
        if code == _INTERRUPTED:  # Typer's own answer to Ctrl-C
            raise KeyboardInterrupt
    except VitKerasError as error:
        print_error(str(error), traceback=debug)
        code = error.exit_code
    except UsageError as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print_error("Interrupted.")
        code = _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output is gone
        code = 0
    except MemoryError as error:
        print_error(f"Out of memory ({error}). Use a smaller --batch-size, --limit or preset.", traceback=debug)
        code = 7
    except Exception as error:
        print_error(
            f"This is a bug in vit-keras: {type(error).__name__}: {error}. Run the command with --debug and report its output.",
            traceback=debug,
        )
        code = 1
    sys.exit(code or 0)
