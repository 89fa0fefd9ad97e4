"""`vit-keras info`."""

import platform
from dataclasses import asdict
from typing import Annotated, Any

from rich.table import Table
from typer import Argument, Option

from vit_keras.cli.backend import start_backend
from vit_keras.cli.help import MODEL
from vit_keras.cli.options import Debug, Json, Quiet, complete_preset
from vit_keras.cli.output import out, print_json, printable
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import load_preset, preset_info
from vit_keras.zoo.find_model import find_model

_OPTIONAL = ("keras-tuner", "tensorflow-datasets", "pillow", "onnx", "onnxruntime", "ai-edge-litert")
_TITLE_WIDTH = 22
_SHOWN = 5  # class names
_RELATIVES = 8  # presets of the same shape


def info_command(
    name: Annotated[
        str | None,
        Argument(
            metavar="NAME_OR_PATH",
            help="A preset's name, also as timm or Hugging Face write it, or a file or directory with a model; without it, what "
            "vit-keras runs on here.",
            autocompletion=complete_preset,
        ),
    ] = None,
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
    """Show a preset (size, compute, license, weights), what a file or directory is and how to load it, or what is installed here.

    Examples:
        vit-keras info vit_small_patch16_224
        vit-keras info vit_small_patch16_224 --attention
        vit-keras info facebook/dinov2-base
        vit-keras info model.safetensors
        vit-keras info --json    # versions, backend and hardware, for the report of a bug
    """
    if name is None:
        if attention:
            raise InvalidArgumentError("--attention is for a preset: give its name.")
        start_backend(debug=debug, trains=True)  # shows what training would use
        _show_installation(as_json=as_json)
        return
    found = find_model(name)
    if found.preset is None:
        if attention:
            raise InvalidArgumentError(f"--attention is for a preset; {name} is a file or directory.")
        from vit_keras.zoo.checkpoint_info import checkpoint_info

        _show_checkpoint(checkpoint_info(name), as_json=as_json)
        return
    info = preset_info(found.preset)
    if attention:
        start_backend(debug=debug)
        info["attention"] = _find_kernel(found.preset)
    if as_json:
        print_json(info)
        return
    height, width = info["config"]["image_size"]
    rows = {
        "preset": found.preset,
        **({} if found.tag is None else {"named weights": f"{found.preset}:{found.tag}"}),
        **({} if found.taken is None else {"taken": found.taken}),
        **{key: info[key] for key in ("description", "paper", "source", "license", "recipe")},
        "image": f"{height}x{width} px",
        "tokens": info["tokens"],
        "parameters": f"{info['params']:,}",
        "GMACs": f"{info['gmacs']:.3f}",
        "MiB per image, training": f"{info['activation_mib']:.1f}",
        "weights": "\n".join(map(_describe_weights, info["weights"].values())) or "none: random initialization",
        **_describe_relatives(info["relatives"]),
        **({"attention": info["attention"]["description"]} if attention else {}),
        **info["config"],
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        table.add_row(key, str(value))
    out.print(table)


def _show_installation(*, as_json: bool) -> None:
    from vit_keras.runtime.environment import PACKAGES, environment

    info = {**environment((*PACKAGES, *_OPTIONAL)), "system": platform.platform()}
    if as_json:
        print_json(info)
        return
    rows = {
        **info.pop("versions"),
        **info,
        "devices": ", ".join(info["devices"]),
        "processor": info["processor"] or "unknown",
    }
    for key, value in rows.items():
        out.print(printable(f"{key:{_TITLE_WIDTH}}{value}"))


def _show_checkpoint(info: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(info)
        return
    size, names = info["image_size"], info["class_names"]
    more = f", ... ({len(names)})" if names and len(names) > _SHOWN else ""
    rows = {
        "path": info["path"],
        "what": info["what"],
        "library": info["library"],
        "prefix": info["prefix"],
        "dtype": ", ".join(info["dtypes"] or ()),
        "parameters": f"{info['params']:,}" if info["params"] else None,
        "classes": info["num_classes"],
        "class names": ", ".join((names or [])[:_SHOWN]) + more,
        "image": f"{size[0]}x{size[1]} px" if size else None,
        "patch": f"{info['patch_size']} px" if info["patch_size"] else None,
        "preset": ", ".join(info["presets"]),
        "settings": ", ".join(f"{name}={value!r}" for name, value in info["settings"].items()),
        "missing": "\n".join(info["missing"]),
    }
    for key, value in rows.items():
        if value not in (None, ""):
            lines = str(value).split("\n")
            out.print(
                printable(
                    "\n".join(
                        f"{title:14}{line}" for title, line in zip([key, *[""] * len(lines)], lines, strict=False)
                    )
                )
            )
    # Never in a table, which would break a line that is to be copied.
    for title, lines in (("In Python:", info["python"]), ("On the command line:", info["command"])):
        if lines:
            out.print(printable("\n".join(["", title, *lines])))


def _find_kernel(name: str) -> dict[str, Any]:
    """Returns the attention kernel of a preset on this backend and device, in the fastest precision."""
    import keras

    from vit_keras.layers.kernels.attention_kernel import attention_kernel
    from vit_keras.runtime.precision import resolve

    config = load_preset(name).config
    dtype, head_dim = keras.DTypePolicy(resolve("auto")).compute_dtype, config.hidden_dim // config.num_heads
    kernel = attention_kernel(
        num_tokens=config.num_tokens, num_heads=config.num_heads, head_dim=head_dim, dtype=dtype, training=False,
        has_padding=config.max_num_patches is not None,
    )  # fmt: skip
    return {**asdict(kernel), "description": str(kernel)}


def _describe_relatives(relatives: dict[str, Any]) -> dict[str, str]:
    """Returns the rows about presets near a preset."""
    same, more = relatives["same_shape"], len(relatives["same_shape"]) - _RELATIVES
    rows = {
        "same shape": "\n".join([*same[:_RELATIVES], *([f"and {more} more"] if more > 0 else [])]),
        "next smaller": relatives["smaller"],
        "next larger": relatives["larger"],
    }
    return {title: value for title, value in rows.items() if value}


def _describe_weights(checkpoint: dict[str, Any]) -> str:
    kind = f"classes of {checkpoint['label_set']}" if checkpoint["label_set"] else "outputs"
    classes = f"{checkpoint['num_classes']:,} {kind}" if checkpoint["num_classes"] else "no head"
    top1 = f", ImageNet-1k {checkpoint['top1']} %" if checkpoint["top1"] else ""
    place = ", in the package" if checkpoint["file"] else ""
    note = f"; {checkpoint['note']}" if checkpoint["note"] else ""
    size = f"{checkpoint['megabytes']:.0f} MB"
    return f"{checkpoint['tag']}: {classes}{top1}, {size}, {checkpoint['license']}{place}{note}"
