"""What the pages show exists: names and arguments in Python, commands and options in shells. `test_readme.py` runs whole blocks."""

import ast
import inspect
import re
import shlex
import tomllib
from functools import reduce
from pathlib import Path

import pytest

import vit_keras as vk

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "generated" not in path.parts
}

pytestmark = pytest.mark.any_backend


def find_blocks(text, language):
    """Returns the text in front of each block of a language, and the block."""
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start()], match[1]) for match in found]


def find_calls(text):
    """Yields each call of a public name in inline code and in Python blocks, with the source of its function."""
    codes = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    codes += [
        block for language in ("python", "py", r"\{code-cell\} python") for _, block in find_blocks(text, language)
    ]
    for code in codes:
        try:
            tree = ast.parse(code)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and re.fullmatch(r"vk[.\w]+", ast.unparse(node.func)):
                yield ast.unparse(node.func), node


def resolve(path):
    return reduce(getattr, path.split(".")[1:], vk)


@pytest.mark.parametrize("page", PAGES)
def test_every_public_name_on_a_page_exists(page):
    names = set(re.findall(r"\bvk(?:\.[a-zA-Z_]\w*)+", PAGES[page])) - {"vk.recipes.NAME"}
    missing = []
    for name in names:
        try:
            resolve(name)
        except AttributeError:
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_call_on_a_page_has_arguments_that_the_function_takes(page):
    for name, call in find_calls(PAGES[page]):
        short = any(isinstance(each, ast.Starred) or getattr(each, "value", 0) is ... for each in call.args)
        if name == "vk.recipes.NAME" or short or not call.args + call.keywords:
            continue
        keywords = {each.arg: None for each in call.keywords if each.arg}
        bind = (
            inspect.signature(resolve(name)).bind_partial
            if "..." in ast.unparse(call)
            else inspect.signature(resolve(name)).bind
        )
        try:
            bind(*call.args, **keywords)
        except TypeError as error:
            pytest.fail(f"{page}: {ast.unparse(call)}: {error}")


def test_a_wrong_call_would_be_found():
    ((name, call),) = find_calls("see `vk.save_preset(model, DIR, to=3)`")
    with pytest.raises(TypeError):
        inspect.signature(resolve(name)).bind(*call.args, **{each.arg: None for each in call.keywords})


@pytest.fixture(scope="module")
def commands():
    """The commands by the words that start them."""
    import command_pages
    import typer

    from vit_keras.cli.main import build_app

    return command_pages.list_commands(typer.main.get_command(build_app()))


def find_command_lines(text):
    """Yields the words after `vit-keras` of each line of a shell block and of inline code."""
    lines = [line for _, block in find_blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(vit-keras [^`]+)`", text)
    for line in lines:
        if match := re.search(r"(?:^|\| )(vit-keras .*)", line):
            yield shlex.split(match[1], comments=True)[1:]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_on_a_page_has_a_command_and_options_that_exist(page, commands):
    groups = {words[0] for words in commands if len(words) > 1}
    for words in find_command_lines(PAGES[page]):
        if words[0] in ("COMMAND", "...") or words[0].startswith("-"):
            continue
        length = 2 if words[0] in groups else 1
        command = commands.get(tuple(words[:length]))
        assert command is not None, (page, words)
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        before = words[: words.index("--")] if "--" in words else words
        used = {word.partition("=")[0] for word in before if re.match(r"--?[a-zA-Z]", word)}
        assert used - {"-h", "--help"} <= options, (page, words)


def test_each_how_to_page_begins_with_a_command_or_with_code():
    index = PAGES["docs/index.md"]
    (pages,) = re.findall(r":caption: How to\n\n(.*?)```", index, re.DOTALL)
    assert len(pages.split()) > 15
    for name in set(pages.split()) - {"coming_from"}:
        assert re.match(r"# [^\n]+\n\n```(sh|python)\n", PAGES[f"docs/{name}.md"]), name


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_is_not_run_compiles_and_says_why_it_is_not_run(page):
    pairs = "".join(
        re.findall(r'<div class="pair">.*?</div></div>', PAGES[page], re.DOTALL)
    )  # run by test_coming_from.py
    for before, block in find_blocks(PAGES[page], "py"):
        compile(block, page, "exec")
        if page != "README.md" and block not in pairs:  # the README says why in the sentence before
            assert re.search(r"<!-- not run: [^\n]+ -->\n$", before), (page, block)
    for _, block in find_blocks(PAGES[page], "toml"):
        tomllib.loads(block)
