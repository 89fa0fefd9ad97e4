"""The code and the commands that pages show."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def code_blocks(page: Path, language: str) -> list[str]:
    """Returns the blocks of a page in a language, such as "python"."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Returns the words of each `vit-keras` command in the "sh" blocks of a page, without the program and comments."""
    lines = [line for block in code_blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("vit-keras ")]


def demo_commands() -> list[list[str]]:
    """Returns the words of the commands of `make demo`."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    data = re.search(r"^DATA \?= (.*)$", makefile, re.MULTILINE)[1]
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    return [shlex.split(line.replace("$(DATA)", data))[1:] for line in recipe.splitlines()]
