"""`vit-keras explain`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import typer

from vit_keras import explain
from vit_keras.cli.output import err, out, print_json, printable
from vit_keras.data import Resizing, resizing_of
from vit_keras.data.images import read_image
from vit_keras.errors import InvalidArgumentError, StorageError, VitKerasError
from vit_keras.model import num_classes_of
from vit_keras.presets import list_presets, load_preset
from vit_keras.training.evaluation import probabilities
from vit_keras.training.run_directory import RunDirectory
from vit_keras.zoo import from_preset, load_labels, load_resizing

METHODS = ("attention", "rollout", "relevance")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_MOST = 60  # images of a sheet
_SOME_FAILED = 3


def draw(
    model: str, images: Sequence[Path], *, weights: str | None, method: str, layer: int, out_file: Path, as_json: bool
) -> None:
    """Draws images beside what a model looks at in them.

    Args:
        model: A run directory, a preset directory, or a preset's name.
        images: Image files, or folders of them.
        weights: Of a preset's name: a tag of its checkpoints, or a checkpoint's path.
        method: One of `METHODS`.
        layer: Which block's attention; -1 for the last.
        out_file: The picture to write.
        as_json: Prints what was seen of each image instead of lines.
    """
    if method not in METHODS:
        raise InvalidArgumentError(f"--method {method!r} is none of {', '.join(METHODS)}.")
    if out_file.exists():
        raise StorageError(f"{out_file} exists, and nothing is overwritten: choose another --out.")
    net, resizing, names = _opened(model, weights)
    paths = _listed(images)
    read, rows = [], list[dict[str, Any]]()
    for path in paths[:_MOST]:
        try:
            read.append(read_image(path, resizing))
            rows.append({"file": str(path)})
        except VitKerasError as error:
            err.print(printable(f"skipped {error}"))
    if not read:
        raise InvalidArgumentError("None of the images could be read, so there is nothing to look at.")
    pixels = np.stack(read)
    heats = _looked(net, pixels, method, layer)
    titles = [Path(row["file"]).name for row in rows]
    if num_classes_of(net) is not None and names:
        for row, found in zip(rows, probabilities(net, pixels), strict=True):
            best = int(found.argmax())
            row |= {"class": names[best], "probability": float(found[best])}
        titles = [f"{row['class']} {row['probability']:.0%}" for row in rows]
    pictures, captions = [], list[str]()
    for image, heat, title in zip(pixels, heats, titles, strict=True):
        pictures += [image, explain.overlay(image, heat)]
        captions += [printable(title), method]
    figure = explain.show(pictures, titles=captions, columns=6)
    try:
        figure.savefig(out_file, dpi=110)
    except (OSError, ValueError) as error:
        raise StorageError(f"{out_file}: could not be written ({error}).") from error
    if as_json:
        print_json({"picture": str(out_file), "images": rows})
    else:
        for row in rows:
            out.print(
                printable(f"{row['file']}  {row['class']} {row['probability']:.1%}" if "class" in row else row["file"])
            )
        out.print(f"look at  {out_file}")
        if len(paths) > _MOST:
            out.print(f"and {len(paths) - _MOST} images more, which were not drawn")
    if len(rows) < min(len(paths), _MOST):
        raise typer.Exit(_SOME_FAILED)


def _opened(model: str, weights: str | None) -> tuple[keras.Model, Resizing, tuple[str, ...]]:
    """Returns a model, how its images are brought to its size, and what its classes are called."""
    if model in list_presets():
        tag = weights if weights in load_preset(model).weights else None
        return from_preset(model, weights=weights), resizing_of(model, weights=tag), ()
    directory = RunDirectory(Path(model)).model if RunDirectory(Path(model)).model.is_dir() else Path(model)
    return from_preset(directory), load_resizing(directory), tuple(load_labels(directory))


def _listed(images: Sequence[Path]) -> list[Path]:
    """Returns files, folders opened, in order."""
    found: list[Path] = []
    for path in images:
        inside = (
            sorted(each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES) if path.is_dir() else [path]
        )
        if not inside:
            raise InvalidArgumentError(f"{path} is a folder without images.")
        found += inside
    return found


def _looked(model: keras.Model, pixels: np.ndarray, method: str, layer: int) -> np.ndarray:
    if method == "rollout":
        return explain.attention_rollout(model, pixels)
    if method == "relevance":
        return explain.class_relevance(model, pixels)
    looked = explain.prefix_attention(model, pixels, layer=layer)
    if "class_token" not in looked:
        raise InvalidArgumentError("The model has no class token whose attention could be drawn: use --method rollout.")
    seen: np.ndarray = looked["class_token"].mean(1)
    return seen
