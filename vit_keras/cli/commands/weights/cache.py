"""`vit-keras cache`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from typer import Option

from vit_keras.cli.help import OUTPUT
from vit_keras.cli.options import Debug, Json
from vit_keras.cli.output import out, print_json, printable
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.reporting.text import plural
from vit_keras.runtime.cache import cache_folder

KINDS = {
    "weights": "downloaded",
    "images": "decoded by `vk.data.load`",
    "compiled": "programs of JAX",
}


def cache_command(
    clear: Annotated[
        str | None,
        Option(
            metavar="KIND",
            help="Remove all files of a kind: weights, images or compiled. They are downloaded or made again when they are needed.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the cache: downloaded weights, decoded images, compiled programs; or clear one of these.

    The folder is ~/.keras/vit_keras, or what the environment variable VIT_KERAS_CACHE says. Where huggingface_hub is installed, weights on
    Hugging Face are in its cache instead.

    Examples:
        vit-keras cache
        vit-keras cache --clear images
    """
    if clear not in (None, *KINDS):
        raise InvalidArgumentError(f"--clear must be one of {', '.join(KINDS)}, got {clear!r}.")
    if clear is not None:
        _remove(clear)
    files = {kind: list(list_files(kind)) for kind in KINDS}
    sizes = {kind: sum(_size(path) for path in paths) for kind, paths in files.items()}
    if as_json:
        kinds = {kind: {"files": len(paths), "bytes": sizes[kind]} for kind, paths in files.items()}
        print_json({"folder": str(cache_folder()), "kinds": kinds})
        return
    out.print(printable(str(cache_folder())))
    for kind, what in KINDS.items():
        out.print(f"{kind:10}{sizes[kind] / 1e6:12,.1f} MB  {plural(len(files[kind]), 'file')}, {what}")


def list_files(kind: str) -> Iterator[Path]:
    """Yields the files of a kind that vit_keras wrote to the cache folder, whatever else is in it."""
    folder = cache_folder()
    if kind == "images":
        yield from (path for path in folder.glob("images/*.npy") if re.fullmatch("[0-9a-f]{32,}", path.stem))
    elif kind == "compiled":
        folders = (path for path in folder.glob("compiled/*") if re.fullmatch("[0-9a-f]{12}", path.name))
        yield from (path for each in folders for path in each.rglob("*") if path.is_file())
    else:
        for record in folder.glob("*/*.json"):
            if _is_record(record):
                name = record.with_suffix("")
                companions = (name.with_name(name.name + ending) for ending in (".part", ".lock"))
                yield from (path for path in (name, record, *companions) if path.is_file())


def _is_record(path: Path) -> bool:
    """Whether a file says where the weights beside it were downloaded from."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"url", "sha256", "mtime_ns"} <= record.keys()


def _remove(kind: str) -> None:
    try:
        for path in list(list_files(kind)):
            path.unlink(missing_ok=True)
            if kind != "images" and not any(path.parent.iterdir()):
                path.parent.rmdir()
    except OSError as error:
        raise StorageError(f"{error.filename}: could not be removed ({error}). Close what uses it.") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0
