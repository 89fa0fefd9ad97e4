"""`vit-keras info`."""

from typing import Annotated, Any

import typer
from rich.table import Table

from vit_keras.cli.options import Debug, Json
from vit_keras.cli.output import out, print_json
from vit_keras.presets import preset_info


def info_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset's name.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show one preset: size, compute, source, license, weights, configuration."""
    info = preset_info(name)
    if as_json:
        print_json(info)
        return
    height, width = info["config"]["image_size"]
    rows = {
        "preset": name,
        **{key: info[key] for key in ("description", "paper", "source", "license", "recipe")},
        "image": f"{height}x{width} px",
        "tokens": info["tokens"],
        "parameters": f"{info['params']:,}",
        "GMACs": f"{info['gmacs']:.3f}",
        "MiB per image, training": f"{info['activation_mib']:.1f}",
        "weights": "\n".join(map(_describe_weights, info["weights"].values())) or "none: random initialization",
        **info["config"],
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        table.add_row(key, str(value))
    out.print(table)


def _describe_weights(checkpoint: dict[str, Any]) -> str:
    classes = f"{checkpoint['num_classes']:,} classes" if checkpoint["num_classes"] else "no head"
    top1 = f", ImageNet-1k {checkpoint['top1']} %" if checkpoint["top1"] else ""
    return f"{checkpoint['tag']}: {classes}{top1}, {checkpoint['megabytes']:.0f} MB, {checkpoint['license']}"
