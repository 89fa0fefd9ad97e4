"""`vit-keras explain`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import typer

from vit_keras import explain
from vit_keras.cli.output import err, out, print_json, printable
from vit_keras.data import Preprocessing, preset_preprocessing
from vit_keras.data.images.decode import read_image
from vit_keras.data.images.signatures import is_image
from vit_keras.errors import InvalidArgumentError, StorageError, VitKerasError
from vit_keras.evaluation.evaluate import probabilities
from vit_keras.models.vit import model_num_classes
from vit_keras.presets import list_presets, load_preset
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_class_names, load_preprocessing

METHODS = ("attention", "rollout", "relevance")
_MOST = 60  # images of a sheet
_SOME_FAILED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """What a model saw of images.

    Args:
        name: The model's.
        pixels: `(count, height, width, channels)`.
        heats: `(count, rows, columns)`.
        said: Of each image the likeliest class and its probability; empty where the model has no names for classes.
    """

    name: str
    pixels: np.ndarray
    heats: np.ndarray
    said: list[dict[str, Any]]

    def caption(self, place: int) -> str:
        """What stands over a map: the class where there is one, or the model's name."""
        if not self.said:
            return printable(self.name)
        return printable(f"{self.said[place]['class']} {self.said[place]['probability']:.0%}")


def report(model: str, images: Sequence[Path], *, weights: str | None, page: Path) -> None:
    """Writes a page that takes one image's forward pass apart.

    Args:
        model: A run directory, a preset directory, or a preset's name.
        images: One image file.
        weights: Of a preset's name: a tag of its checkpoints, or a checkpoint's path.
        page: The page to write.
    """
    if len(images) != 1 or images[0].is_dir():
        raise InvalidArgumentError("A report takes one image apart: give one image file.")
    _refuse_existing(page, "--report")
    net, preprocessing, names = _opened(model, weights)
    image = read_image(images[0], preprocessing)
    explain.anatomy_report(net, image, page, class_names=names, title=Path(model).name)
    out.print(f"open it in a browser  {page}")


def draw(
    model: str,
    images: Sequence[Path],
    *,
    weights: str | None,
    against: str | None,
    method: str,
    layer: int,
    out_file: Path,
    as_json: bool,
) -> None:
    """Draws images beside what a model looks at in them, or what two do.

    Args:
        model: A run directory, a preset directory, or a preset's name.
        images: Image files, or folders of them.
        weights: Of a preset's name: a tag of its checkpoints, or a checkpoint's path.
        against: A second model, a directory or a name; None for none.
        method: One of `METHODS`.
        layer: Which block's attention; -1 for the last.
        out_file: The picture to write.
        as_json: Prints what was seen of each image instead of lines.
    """
    if method not in METHODS:
        raise InvalidArgumentError(f"--method {method!r} is none of {', '.join(METHODS)}.")
    _refuse_existing(out_file, "--out")
    models = [(model, weights), *([(against, None)] if against else [])]
    nets = [_opened(name, tag) for name, tag in models]
    paths = _listed(images)
    kept, read = _read(paths[:_MOST], [preprocessing for _, preprocessing, _ in nets])
    seen = [
        _seen(name, net, names, pixels, method, layer)
        for (name, _), (net, _, names), pixels in zip(models, nets, read, strict=True)
    ]
    pictures, captions = [], list[str]()
    for place, path in enumerate(kept):
        pictures.append(seen[0].pixels[place])
        captions.append(printable(path.name))
        pictures += [explain.overlay(each.pixels[place], each.heats[place]) for each in seen]
        captions += [each.caption(place) for each in seen]
    figure = explain.show(pictures, titles=captions, columns=6)
    try:
        figure.savefig(out_file, dpi=110)
    except (OSError, ValueError) as error:
        raise StorageError(f"{out_file}: could not be written ({error}).") from error
    rows = [{"file": str(path)} | (seen[0].said[place] if seen[0].said else {}) for place, path in enumerate(kept)]
    if against:
        for place, row in enumerate(rows):
            row["against"] = seen[1].said[place] if seen[1].said else {}
    if as_json:
        print_json({"picture": str(out_file), "images": rows})
    else:
        for row in rows:
            found = [each for each in (row, row.get("against", {})) if "class" in each]
            out.print(
                printable("  ".join([row["file"], *(f"{each['class']} {each['probability']:.1%}" for each in found)]))
            )
        out.print(f"look at  {out_file}")
        if len(paths) > _MOST:
            out.print(f"and {len(paths) - _MOST} images more, which were not drawn")
    if len(kept) < min(len(paths), _MOST):
        raise typer.Exit(_SOME_FAILED)


def _refuse_existing(path: Path, option: str) -> None:
    if path.exists():
        raise StorageError(f"{path} exists, and nothing is overwritten: choose another {option}.")


def _read(paths: Sequence[Path], resizings: Sequence[Preprocessing]) -> tuple[list[Path], list[np.ndarray]]:
    """Returns the files that could be read, and their pixels as each model takes them."""
    kept, read = [], list[list[np.ndarray]]()
    for path in paths:
        try:
            read.append([read_image(path, preprocessing) for preprocessing in resizings])
            kept.append(path)
        except VitKerasError as error:
            err.print(printable(f"skipped {error}"))
    if not read:
        raise InvalidArgumentError("None of the images could be read, so there is nothing to look at.")
    return kept, [np.stack(pixels) for pixels in zip(*read, strict=True)]


def _seen(name: str, net: keras.Model, names: tuple[str, ...], pixels: np.ndarray, method: str, layer: int) -> _Seen:
    said = []
    if model_num_classes(net) is not None and names:
        shares = probabilities(net, pixels)
        said = [{"class": names[int(each.argmax())], "probability": float(each.max())} for each in shares]
    return _Seen(name=Path(name).name, pixels=pixels, heats=_looked(net, pixels, method, layer), said=said)


def _opened(model: str, weights: str | None) -> tuple[keras.Model, Preprocessing, tuple[str, ...]]:
    """Returns a model, how its images are brought to its size, and what its classes are called."""
    if model in list_presets():
        tag = weights if weights in load_preset(model).weights else None
        return from_preset(model, weights=weights), preset_preprocessing(model, weights=tag), ()
    directory = RunDirectory(Path(model)).model if RunDirectory(Path(model)).model.is_dir() else Path(model)
    return from_preset(directory), load_preprocessing(directory), tuple(load_class_names(directory))


def _listed(images: Sequence[Path]) -> list[Path]:
    """Returns files, folders opened, in order."""
    found: list[Path] = []
    for path in images:
        inside = (
            sorted(each for each in path.rglob("*") if each.is_file() and is_image(str(each)))
            if path.is_dir()
            else [path]
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
