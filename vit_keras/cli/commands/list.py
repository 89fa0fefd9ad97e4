"""`vit-keras list`."""

from typing import Annotated

from rich.table import Table
from typer import Argument

from vit_keras.cli.options import Debug, Json
from vit_keras.cli.output import print_json, print_table
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets, preset_info

_WIDTH = 125  # columns, with the longest name
START = {"vit_nano_conv8_96": "train", "vit_small_patch16_224": "finetune"}
"""The preset to start with, and the command: the default of `train`, and weights good enough for most images at a small size."""


def list_command(
    pattern: Annotated[
        str, Argument(metavar="PATTERN", help="Name with the wildcards * ? [...]; by default all.", show_default=False)
    ] = "*",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the presets with their size, compute, memory, and number of trained weights; the last column marks those to start with.

    Examples:
        vit-keras list
        vit-keras list "*small*" --json
    """
    infos = [preset_info(name) for name in list_presets(pattern)]
    if not infos:
        raise InvalidArgumentError(
            f'No preset matches {pattern!r}. `vit-keras list` shows all; "*small*" matches inside a name.'
        )
    if as_json:
        print_json(infos)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("preset", no_wrap=True)
    for heading in ("image", "tokens", "parameters", "GMACs", "MiB per image", "weights"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("start with", no_wrap=True)
    for info in infos:
        height, width = info["config"]["image_size"]
        size = f"{height}x{width} px", str(info["tokens"]), f"{info['params']:,}"
        costs = f"{info['gmacs']:.3f}", f"{info['activation_mib']:.1f}"
        table.add_row(info["name"], *size, *costs, str(len(info["weights"]) or "-"), START.get(info["name"], ""))
    print_table(table, width=_WIDTH)
