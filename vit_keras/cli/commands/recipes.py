"""`vit-keras recipes`."""

from typing import Annotated, Any

from rich.table import Table
from typer import Argument

from vit_keras.cli.checks import check_recipe
from vit_keras.cli.options import Debug, Json
from vit_keras.cli.output import print_json, print_table

_OF_A_RUN = ("epochs", "steps_per_epoch", "seed")


def recipes_command(
    name: Annotated[str | None, Argument(metavar="NAME", help="A recipe's name; by default all.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the recipes of training, fine-tuning and pre-training, or show all values of one.

    Examples:
        vit-keras recipes
        vit-keras recipes finetune
        vit-keras recipes mae
    """
    recipes = describe_recipes(name)
    if as_json:
        print_json(recipes if name is None else recipes[0])
    elif name is None:
        table = Table(box=None, pad_edge=False)
        for heading in ("recipe", "trains", "optimizer"):
            table.add_column(heading, no_wrap=True)
        table.add_column("expected")
        for recipe in recipes:
            table.add_row(recipe["name"], recipe["method"], recipe["optimizer"], recipe["expected"])
        print_table(table)
    else:
        _print_recipe(recipes[0])


def describe_recipes(name: str | None = None) -> list[dict[str, Any]]:
    """Returns the values of one recipe or of all; `sized` has the rules of those that are adapted to a run."""
    from vit_keras.pretraining import recipe as pretraining
    from vit_keras.training.recipes import RECIPES
    from vit_keras.training.recipes.sizing import RULES

    all_recipes: dict[str, Any] = {**RECIPES, **pretraining.RECIPES}
    check_recipe(name, known=tuple(all_recipes))
    recipes = []
    for known in all_recipes if name is None else [name]:
        entry = all_recipes[str(known)]
        fields = entry.unsized(epochs=1, steps_per_epoch=1).to_dict()
        fixed = {key: value for key, value in fields.items() if key not in _OF_A_RUN}
        rules = entry.rules if known in pretraining.RECIPES else {field: RULES[field] for field in entry.sized}
        recipes.append({**fixed, "sized": rules})
    return recipes


def list_rows(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns each value of a recipe as text, with the rule where it is adapted to a run."""
    rules = recipe["sized"]
    return [
        (key, _format(value) + (f", {rules[key]}" if key in rules else ""))
        for key, value in recipe.items()
        if key not in ("name", "sized")
    ]


def _print_recipe(recipe: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # keeps a URL whole
    for row in (("recipe", recipe["name"]), *list_rows(recipe)):
        table.add_row(*row)
    print_table(table)


def _format(value: Any) -> str:
    from vit_keras.data.augment.augmentation import Augmentation

    if isinstance(value, dict):  # an augmentation, of which only what it changes, or options of a method
        plain = Augmentation().to_dict()
        return (
            ", ".join(f"{key} {item}" for key, item in value.items() if key not in plain or item != plain[key])
            or "none"
        )
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
