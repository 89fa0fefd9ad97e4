"""`vit-keras list`."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any

from rich.table import Table
from typer import Argument

from vit_keras.cli.options import Debug, Json
from vit_keras.cli.output import out, print_json, print_table
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets, preset_info

_WIDTH = 125  # columns, with the longest name
_HEADINGS = ("preset", "image", "tokens", "parameters", "GMACs", "MiB per image", "weights", "start with")
START = {"vit_nano_conv8_96": "train", "vit_small_patch16_224": "finetune"}
"""The preset to start with, and the command: the default of `train`, and weights good enough for most images at a small size."""


def list_command(
    pattern: Annotated[
        str, Argument(metavar="PATTERN", help="Name with the wildcards * ? [...]; by default all.", show_default=False)
    ] = "*",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the presets by family, with their size, compute, memory, and number of trained weights; the last column marks those to start with.

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
    infos.sort(key=lambda info: info["family"])  # of a family, they are sorted by name
    rows = {info["name"]: _describe(info) for info in infos}
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows.values(), strict=True)]
    _print_rows([], widths)
    for (family, description), members in groupby(infos, key=lambda info: (info["family"], info["description"])):
        out.print(f"\n# {family}: {description}")
        _print_rows([rows[info["name"]] for info in members], widths)


def _describe(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what `_HEADINGS` says of a preset."""
    height, width = info["config"]["image_size"]
    size = f"{height}x{width} px", str(info["tokens"]), f"{info['params']:,}"
    costs = f"{info['gmacs']:.3f}", f"{info['activation_mib']:.1f}"
    return info["name"], *size, *costs, str(len(info["weights"]) or "-"), START.get(info["name"], "")


def _print_rows(rows: Sequence[tuple[str, ...]], widths: Sequence[int]) -> None:
    """Prints rows, or the headings where there are none."""
    table = Table(box=None, pad_edge=False, show_header=not rows)
    for heading, width in zip(_HEADINGS, widths, strict=True):
        is_text = heading in (_HEADINGS[0], _HEADINGS[-1])
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*row)
    print_table(table, width=_WIDTH)
