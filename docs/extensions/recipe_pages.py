"""The recipes, each with all its values."""

from vit_keras.cli.commands.recipes import describe_recipes, list_rows

INTRODUCTION = """Where a rule stands beside a value, the value is for the stated case and adapted to a run.
"""


def make_text() -> str:
    """Returns the recipes in Markdown, a section each."""
    return "\n".join([INTRODUCTION, *map(_describe, describe_recipes())])


def _describe(recipe: dict[str, object]) -> str:
    rows = "\n".join(f"| {key} | {_escape(text)} |" for key, text in list_rows(recipe))
    return f"## {recipe['name']}\n\n| field | value |\n|---|---|\n{rows}\n"


def _escape(text: str) -> str:
    return " ".join(f"<{word}>" if word.startswith("https://") else word.replace("|", "\\|") for word in text.split())
