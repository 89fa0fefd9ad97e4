"""`vit-keras list` and `vit-keras info`."""

from typing import Any

from rich.table import Table

from vit_keras.cli.output import at_least, out, print_json
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets, preset_info

WHOLE = 110
"""Columns that every row fits in."""
_SHOWN = ("description", "paper", "source", "license", "recipe")


def show_list(pattern: str, *, as_json: bool) -> None:
    """Prints the presets that match.

    Args:
        pattern: A name with wildcards.
        as_json: One JSON list instead of a table.

    Raises:
        InvalidArgumentError: None matches.
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
    for heading in ("image", "tokens", "parameters", "GMACs", "MiB an image"):
        table.add_column(heading, justify="right", no_wrap=True)
    for info in infos:
        table.add_row(info["name"], *_numbers(info).values())
    at_least(WHOLE).print(table)  # a name that is cut short can't be copied


def show_info(name: str, *, as_json: bool) -> None:
    """Prints one preset.

    Args:
        name: Its name.
        as_json: One JSON object instead of lines.

    Raises:
        InvalidArgumentError: There is none of this name.
    """
    info = preset_info(name)
    if as_json:
        print_json(info)
        return
    rows = {
        **{key: info[key] for key in _SHOWN},
        **_numbers(info),
        "weights": "\n".join(_weights_line(entry) for entry in info["weights"].values()) or "none: starts at random",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in {"preset": name, **rows, **info["config"]}.items():
        table.add_row(key, str(value))
    out.print(table)


def _weights_line(checkpoint: dict[str, Any]) -> str:
    classes = f"{checkpoint['num_classes']:,} classes" if checkpoint["num_classes"] else "no head"
    top1 = f", ImageNet-1k {checkpoint['top1']} %" if checkpoint["top1"] else ""
    return f"{checkpoint['tag']}: {classes}{top1}, {checkpoint['megabytes']:.0f} MB, {checkpoint['license']}"


def _numbers(info: dict[str, Any]) -> dict[str, str]:
    height, width = info["config"]["image_size"]
    return {
        "image": f"{height}x{width} px",
        "tokens": str(info["tokens"]),
        "parameters": f"{info['params']:,}",
        "GMACs": f"{info['gmacs']:.3f}",
        "MiB an image, training": f"{info['activation_mib']:.1f}",
    }
