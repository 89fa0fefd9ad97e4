"""A page for each command of `vit-keras`, which shows its help."""

from typing import Any

import typer

from vit_keras.cli.main import build_app


def list_commands(group: Any, parent: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Returns the commands of a group and of the groups inside it, by the words that start them."""
    found: dict[tuple[str, ...], Any] = {}
    context = group.make_context("vit-keras", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        words = (*parent, name)
        found |= list_commands(command, words) if hasattr(command, "list_commands") else {words: command}
    return found


def make_pages() -> dict[str, str]:
    """Returns the pages by file name."""
    commands = list_commands(typer.main.get_command(build_app()))
    return {f"command-{'-'.join(words)}.md": _make_page(words, command) for words, command in commands.items()}


def _make_page(words: tuple[str, ...], command: Any) -> str:
    line = " ".join(("vit-keras", *words))
    context = command.make_context(line, [], resilient_parsing=True)
    return f"# {line}\n\n```text\n{command.get_help(context).strip()}\n```\n"
