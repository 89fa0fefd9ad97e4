"""The reference has every public name, command, preset and recipe; compared with where those are declared, without Sphinx."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "vit_keras"
COMMANDS = PACKAGE / "cli" / "commands"

pytestmark = pytest.mark.any_backend


def declared_names(package):
    """Returns the public names that a stub declares, or those of a package or module without one, but modules."""
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    stub = folder / "__init__.pyi"
    file = stub if stub.is_file() else folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    tree = ast.parse(file.read_text("utf-8"))
    names, modules = set(), set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and stub.is_file():
            names |= {alias.asname for alias in node.names if alias.asname}
            if (
                node.module in (None, "training") and node.level
            ):  # `from . import data`, `from .training import recipes`
                modules |= {alias.name for alias in node.names if (folder / (node.module or "") / alias.name).exists()}
                modules |= {alias.name for alias in node.names if (folder / f"{alias.name}.py").exists()}
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            names |= set(ast.literal_eval(node.value))
        elif isinstance(node, ast.ClassDef) and file.suffix == ".py":
            names.add(node.name)
    return names - modules - {"__version__"}, modules


def packages():
    """Returns `vit_keras` and the public packages below it, by following the stubs."""
    found, waiting = [], ["vit_keras"]
    while waiting:
        package = waiting.pop(0)
        found.append(package)
        for module in sorted(declared_names(package)[1]):
            inside = f"vit_keras.training.{module}" if module == "recipes" else f"vit_keras.{module}"
            if inside not in found + waiting:
                waiting.append(inside)
    return found


@pytest.mark.parametrize("package", packages())
def test_every_public_name_is_in_the_reference(package):
    import api_pages

    page = api_pages.make_pages()[f"{package}.rst"]
    named = set(re.findall(r"^\.\. (?:autoclass|autofunction|py:function|py:data):: ([\w.]+)", page, re.MULTILINE))
    declared, _ = declared_names(package)
    assert declared
    assert {name.rpartition(".")[2] for name in named} - {"__version__"} == declared


def test_no_public_package_is_left_out_and_the_reader_of_stubs_reads_them():
    import api_pages

    assert set(packages()) == set(api_pages.TITLES)
    names, modules = declared_names("vit_keras")
    assert {"finetune", "from_preset", "ViTConfig"} <= names
    assert {"data", "errors", "recipes"} <= modules


def test_every_command_has_a_page_that_shows_its_help():
    import command_pages

    pages = command_pages.make_pages()
    files = [path for path in COMMANDS.rglob("*.py") if path.name != "__init__.py"]
    words = {path.stem: ("data", path.stem) if path.parent.name == "data" else (path.stem,) for path in files}
    assert pages.keys() == {f"command-{'-'.join(each)}.md" for each in words.values()}
    for each in words.values():
        page = pages[f"command-{'-'.join(each)}.md"]
        assert f"Usage: vit-keras {' '.join(each)}" in page
        assert "--help" in page


def test_every_preset_has_a_row_with_its_numbers():
    import preset_pages

    page = preset_pages.make_text()
    declared = {}
    for path in PACKAGE.parent.glob("presets/*.toml"):
        table = tomllib.loads(path.read_text("utf-8"))
        declared |= {name: each["params"] for name, each in table.items() if name != "family" and "params" in each}
    rows = re.findall(r'<tr><td><code>([\w<>]+)</code>.*?</td><td data-key="([\d.e+]+)">', page)
    assert {name.replace("<wbr>", "") for name, _ in rows} == declared.keys()
    for name, params in rows:
        assert float(params) == pytest.approx(declared[name.replace("<wbr>", "")], rel=1e-5), name


def test_every_recipe_is_a_section_with_all_its_fields():
    import recipe_pages

    page = recipe_pages.make_text()
    table = tomllib.loads((PACKAGE / "training" / "recipes" / "recipes.toml").read_text("utf-8"))
    pretraining = {"mae", "lejepa", "distill"}  # written in Python
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert sections.keys() == set(table) | pretraining
    for name, fields in table.items():
        for key in fields.keys() & {"learning_rate", "weight_decay", "optimizer", "layer_decay"}:
            assert f"| {key} | " in sections[name], (name, key)
