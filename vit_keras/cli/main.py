"""Registers the commands; runs one, and ends with its exit code."""

import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from vit_keras.cli.backend import Process, leave_quickly
from vit_keras.cli.help import WIDTH, HelpCommand, HelpGroup
from vit_keras.cli.output import out, print_error
from vit_keras.cli.wording import name_flags, program
from vit_keras.errors import VitKerasError

# Typer has a click of its own, and exports only subclasses of its usage error.
UsageError: Any = typer.BadParameter.__base__
_INTERRUPTED = 130
_STYLE: Any = {
    "no_args_is_help": True, "pretty_exceptions_enable": False, "rich_markup_mode": None, "cls": HelpGroup,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
}  # fmt: skip
_COMMANDS = {
    "Choose a model": ("list", "info", "recipes", "bench"),
    "Train": ("train", "finetune", "pretrain", "tune", "launch"),
    "Use a model": ("predict", "evaluate", "explain", "features", "export", "serve"),
    "Files of weights": ("convert", "verify", "cache"),
}
_DATA_COMMANDS = ("check", "show")
_FOLDERS = {"launch": "processes", "convert": "weights", "verify": "weights", "cache": "weights"}
"""Folders in `commands`, which holds at most 16 files, of the commands that are not in itself."""


def build_app(only: str | None = None) -> typer.Typer:
    """Returns the program with all commands; with `only`, the name of one of them, with that one alone, whose module alone is imported."""
    app = typer.Typer(name="vit-keras", **_STYLE)
    app.callback()(describe_program)
    is_known = only == "data" or any(only in names for names in _COMMANDS.values())
    for topic, names in _COMMANDS.items():
        for name in names:
            if not is_known or name == only:
                _add_command(app, name, _FOLDERS.get(name), topic=topic)
    if not is_known or only == "data":
        data_app = typer.Typer(name="data", add_completion=False, **_STYLE)
        data_app.callback()(describe_data)
        for name in _DATA_COMMANDS:
            _add_command(data_app, name, "data")
        app.add_typer(data_app, rich_help_panel="Look at data")
    return app


def _add_command(app: typer.Typer, name: str, folder: str | None, *, topic: str | None = None) -> None:
    module = ".".join(filter(None, ["vit_keras.cli.commands", folder, name]))
    command = getattr(import_module(module), f"{name}_command")
    app.command(name, cls=HelpCommand, rich_help_panel=topic)(command)


def describe_data() -> None:
    """Check a data set, or look at it.

    Examples:
        vit-keras data check photos/                    # damage, duplicates, leaks between splits, balance
        vit-keras data show photos/ --augment strong    # a picture of what a model is trained on
    """


def _print_version(wanted: bool) -> None:
    if wanted:
        from vit_keras.version import __version__

        out.print(f"vit-keras-zoo {__version__}")
        raise typer.Exit


def describe_program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Vision Transformers for Keras: choose, train, use and explain them. COMMAND --help shows the options of a command.

    Examples:
        vit-keras train                                                            # on embedded images, in minutes
        vit-keras finetune vit_small_patch16_224 photos/ --weights augreg_in21k    # yours: photos/CLASS/image.jpg
        vit-keras predict runs/photos-1 cat.jpg                                    # what the new model says
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 usage, 3 data, 4 model file, 5 diverged, 6 storage, 7 memory, 75 resumable, 130 interrupted, 1 a bug."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    Process.is_own = arguments is None
    Process.announces = "keras" not in sys.modules and not {"-q", "--quiet"} & set(typed)
    debug = "--debug" in typed
    app = build_app(typed[0] if typed else None)
    try:
        code = app(typed, prog_name=Path(program()).name, standalone_mode=False)
        if code == _INTERRUPTED:  # Typer's own answer to Ctrl-C
            raise KeyboardInterrupt
    except VitKerasError as error:
        print_error(name_flags(str(error), _find_command(app, typed).params), traceback=debug)
        code = error.exit_code
    except UsageError as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print_error(f"Interrupted. Run it again: vit-keras {shlex.join(typed)}")
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
    if Process.is_own:
        leave_quickly(code or 0)
    sys.exit(code or 0)


def _find_command(app: typer.Typer, typed: Sequence[str]) -> Any:
    """Returns the command that is typed, or the group of all commands."""
    found: Any = typer.main.get_command(app)
    for word in typed:
        if word in getattr(found, "commands", {}):
            found = found.commands[word]
    return found
