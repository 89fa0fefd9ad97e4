"""The code and the commands that pages show."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def code_blocks(page: Path, language: str) -> list[str]:
    """Returns the blocks of a page in a language, such as "python"."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def shorten(code: str) -> str:
    """Returns a program of a page with one block in each model that it trains from random weights: its calls stay, and compile faster."""
    if not re.search(r"epochs=|folds=", code):
        return code
    code = re.sub(r'(vk\.(?:train|finetune|pretrain)\()("vit_\w+")', r"\1vk.from_preset(\2)", code)
    return re.sub(r'(from_preset\("vit_(?:nano|pico)_\w+")(?!, weights)', r"\1, num_layers=1", code)


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
