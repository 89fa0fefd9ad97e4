"""`vit-keras list`, `vit-keras info` and `vit-keras recipes`."""

from typing import Any

from rich.table import Table

from vit_keras.cli.output import at_least, out, print_json
from vit_keras.config import closest
from vit_keras.data.augmentation import Augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets, preset_info
from vit_keras.training.recipes import RECIPES

_WHOLE = 110  # columns that every row fits in
_SHOWN = ("description", "paper", "source", "licence", "recipe")


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
    at_least(_WHOLE).print(table)  # a name that is cut short can't be copied


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


def show_recipes(name: str | None, *, as_json: bool) -> None:
    """Prints the recipes, or all of one.

    Args:
        name: Of one; None for all.
        as_json: One JSON list, or one object, instead of lines.

    Raises:
        InvalidArgumentError: There is none of this name.
    """
    if name is not None and name not in RECIPES:
        raise InvalidArgumentError(
            f"There is no recipe {name!r}; the closest are {closest(name, RECIPES)}. `vit-keras recipes` shows all."
        )
    recipes = [_recipe_fields(known) for known in RECIPES if name in (None, known)]
    if as_json:
        print_json(recipes if name is None else recipes[0])
        return
    table = Table(box=None, pad_edge=False, show_header=name is None)
    if name is not None:
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")  # an address that is cut short can't be followed
        for key, value in recipes[0].items():
            table.add_row("recipe" if key == "name" else key, _in_words(value))
        at_least(_WHOLE).print(table)
        return
    for heading in ("recipe", "trains", "optimizer"):
        table.add_column(heading, no_wrap=True)
    table.add_column("expected")
    for recipe in recipes:
        table.add_row(recipe["name"], recipe["method"], recipe["optimizer"], recipe["expected"])
    at_least(_WHOLE).print(table)


def _recipe_fields(name: str) -> dict[str, Any]:
    """Returns what does not depend on how long a run is."""
    fields = RECIPES[name](epochs=1, steps_per_epoch=1).to_dict()
    return {key: value for key, value in fields.items() if key not in ("epochs", "steps_per_epoch")}


def _in_words(value: Any) -> str:
    if isinstance(value, dict):  # an augmentation: what it does not do goes without saying
        plain = Augmentation().to_dict()
        return ", ".join(f"{key} {item}" for key, item in value.items() if item != plain[key]) or "none"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _weights_line(checkpoint: dict[str, Any]) -> str:
    classes = f"{checkpoint['num_classes']:,} classes" if checkpoint["num_classes"] else "no head"
    top1 = f", ImageNet-1k {checkpoint['top1']} %" if checkpoint["top1"] else ""
    return f"{checkpoint['tag']}: {classes}{top1}, {checkpoint['megabytes']:.0f} MB, {checkpoint['licence']}"


def _numbers(info: dict[str, Any]) -> dict[str, str]:
    height, width = info["config"]["image_size"]
    return {
        "image": f"{height}x{width} px",
        "tokens": str(info["tokens"]),
        "parameters": f"{info['params']:,}",
        "GMACs": f"{info['gmacs']:.3f}",
        "MiB an image, training": f"{info['activation_mib']:.1f}",
    }
