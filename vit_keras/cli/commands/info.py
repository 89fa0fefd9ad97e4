"""`vit-keras info`."""

from dataclasses import asdict
from typing import Annotated, Any

from rich.table import Table
from typer import Argument, Option

from vit_keras.cli.backend import start_backend
from vit_keras.cli.help import MODEL
from vit_keras.cli.options import Debug, Json, Quiet, complete_preset
from vit_keras.cli.output import out, print_json
from vit_keras.presets import load_preset, preset_info


def info_command(
    name: Annotated[str, Argument(metavar="NAME", help="A preset's name.", autocompletion=complete_preset)],
    attention: Annotated[
        bool,
        Option(
            "--attention",
            help="Also show which attention kernel runs on this machine; starts Keras.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show one preset: size, compute, source, license, weights, configuration.

    Examples:
        vit-keras info vit_small_patch16_224
        vit-keras info vit_small_patch16_224 --attention
    """
    info = preset_info(name)
    if attention:
        start_backend(debug=debug)
        info["attention"] = _find_kernel(name)
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
        **({"attention": info["attention"]["description"]} if attention else {}),
        **info["config"],
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        table.add_row(key, str(value))
    out.print(table)


def _find_kernel(name: str) -> dict[str, Any]:
    """Returns the attention kernel of a preset on this backend and device, in the fastest precision."""
    import keras

    from vit_keras.layers.kernels.attention_kernel import attention_kernel
    from vit_keras.runtime.precision import resolve

    config = load_preset(name).config
    dtype, head_dim = keras.DTypePolicy(resolve("auto")).compute_dtype, config.hidden_dim // config.num_heads
    kernel = attention_kernel(num_tokens=config.num_tokens, num_heads=config.num_heads, head_dim=head_dim, dtype=dtype)
    return {**asdict(kernel), "description": str(kernel)}


def _describe_weights(checkpoint: dict[str, Any]) -> str:
    classes = f"{checkpoint['num_classes']:,} classes" if checkpoint["num_classes"] else "no head"
    top1 = f", ImageNet-1k {checkpoint['top1']} %" if checkpoint["top1"] else ""
    return f"{checkpoint['tag']}: {classes}{top1}, {checkpoint['megabytes']:.0f} MB, {checkpoint['license']}"
