"""One page of the recipes, each with all its values."""

from vit_keras.cli.commands.recipes import describe_recipes, list_rows

INTRODUCTION = """# Recipes

A recipe says how a model is trained, as data: `vk.recipes.NAME(model, data)` adapts it to both and prints each choice with its reason,
`--recipe NAME` or `--set FIELD=VALUE` uses or changes it on the command line, and `vit-keras recipes NAME` prints this table. Where a
rule stands beside a value, the value is for the stated case and adapted to a run.
"""


def make_pages() -> dict[str, str]:
    """Returns the page by its file name."""
    return {"recipes.md": "\n".join([INTRODUCTION, *map(_describe, describe_recipes())])}


def _describe(recipe: dict[str, object]) -> str:
    rows = "\n".join(f"| {key} | {_escape(text)} |" for key, text in list_rows(recipe))
    return f"## {recipe['name']}\n\n| field | value |\n|---|---|\n{rows}\n"


def _escape(text: str) -> str:
    return " ".join(f"<{word}>" if word.startswith("https://") else word.replace("|", "\\|") for word in text.split())
