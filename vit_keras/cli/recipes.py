"""`vit-keras recipes`; apart from the presets, because augmentation takes NumPy and Pillow along."""

from typing import Any

from rich.table import Table

from vit_keras.cli.catalogue import WHOLE
from vit_keras.cli.output import at_least, print_json
from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes import RECIPES
from vit_keras.training.recipes.sizing import RULES
from vit_keras.validation import closest


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
        sizing = recipes[0].pop("sized")
        for key, value in recipes[0].items():
            rule = f", {sizing[key]}" if key in sizing else ""
            table.add_row("recipe" if key == "name" else key, _in_words(value) + rule)
        at_least(WHOLE).print(table)
        return
    for heading in ("recipe", "trains", "optimizer"):
        table.add_column(heading, no_wrap=True)
    table.add_column("expected")
    for recipe in recipes:
        table.add_row(recipe["name"], recipe["method"], recipe["optimizer"], recipe["expected"])
    at_least(WHOLE).print(table)


def _recipe_fields(name: str) -> dict[str, Any]:
    """Returns the fields that do not depend on the length of a run, and how the `sized` ones depend on it and on the model."""
    fields = RECIPES[name].unsized(epochs=1, steps_per_epoch=1).to_dict()
    own = {key: value for key, value in fields.items() if key not in ("epochs", "steps_per_epoch", "seed")}
    return {**own, "sized": {field: RULES[field] for field in RECIPES[name].sized}}


def _in_words(value: Any) -> str:
    if isinstance(value, dict):  # an augmentation: what it does not do goes without saying
        plain = Augmentation().to_dict()
        return ", ".join(f"{key} {item}" for key, item in value.items() if item != plain[key]) or "none"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
