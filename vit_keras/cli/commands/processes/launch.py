"""`vit-keras launch`."""

import sys
from typing import Annotated

import typer
from typer import Argument, Option

from vit_keras.cli.help import DEVICES
from vit_keras.distributed.launch import local_environments, run_processes
from vit_keras.errors import InvalidArgumentError

_COMMANDS = ("train", "finetune", "pretrain", "evaluate", "predict")


def launch_command(
    command: Annotated[
        list[str],
        Argument(metavar="-- COMMAND", help="train, finetune, pretrain, evaluate or predict, with its options."),
    ],
    processes: Annotated[
        int, Option("-n", "--processes", metavar="N", help="How many processes to start.", rich_help_panel=DEVICES)
    ],
) -> None:
    """Start several processes of a command on this machine, which work together (JAX).

    Their lines begin with their numbers. When one fails, all end, and none is started again: a run that was interrupted (exit code 75)
    goes on with the same launch and --resume. Ctrl-C and SIGTERM reach all, which save and end.

    Examples:
        vit-keras launch -n 4 -- finetune vit_small_patch16_224 photos/ --weights augreg_in21k
    """
    if command[0] not in _COMMANDS:
        raise InvalidArgumentError(
            f"vit-keras launch starts {', '.join(_COMMANDS)}, got {command[0]!r}: vit-keras launch -n 4 -- finetune MODEL SOURCE."
        )
    program = [sys.executable, "-c", "from vit_keras.cli import main; main()", *command]
    code = run_processes(program, local_environments(processes))
    raise typer.Exit(code)
