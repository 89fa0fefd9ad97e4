"""How the package is laid out: small folders, no import circles, a test file for each module."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vit_keras"


def modules() -> dict[str, Path]:
    """Returns every module's file by its dotted name below `vit_keras`; packages by the name of their folder."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path) -> set[tuple[str, str]]:
    """Returns what a file imports, at any level and under TYPE_CHECKING, too: modules, and names in them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def import_graph() -> dict[str, set[str]]:
    """Returns the modules that each module imports. A package's name counts as the module that defines it, unless it is lazy."""
    known = modules()
    packages = {name: imports(file) for name, file in known.items() if file.name == "__init__.py"}
    lazy = {name for name in packages if known[name].with_suffix(".pyi").is_file()}

    def resolve(module: str, name: str) -> str | None:
        if f"{module}.{name}" in known:
            return None if f"{module}.{name}" in packages else f"{module}.{name}"
        if module in packages:
            sources = [source for source, item in packages[module] if item == name and source in known]
            return sources[0] if sources else None if module in lazy or not name else module
        return module if module in known else None

    graph = {}
    for name, file in known.items():
        graph[name] = {resolve(*each) for each in imports(file)} - {None, name}
    return graph


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Returns the sets of modules that can be reached from each other."""

    def reach(start: str) -> set[str]:
        reached, waiting = set(), [start]
        while waiting:
            for each in graph[waiting.pop()] - reached:
                reached.add(each)
                waiting.append(each)
        return reached

    reached = {name: reach(name) for name in graph}
    return {
        frozenset(other for other in reached[name] if name in reached[other]) for name in graph if name in reached[name]
    }


def test_no_folder_holds_more_than_16_files():
    counts = {folder: len(list(folder.glob("*.py"))) - 1 for folder in {file.parent for file in modules().values()}}
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > 16} == {}


def test_every_folder_with_python_files_is_a_package():
    assert [file for file in PACKAGE.rglob("*.py") if not (file.parent / "__init__.py").is_file()] == []


def test_no_files_import_each_other_in_a_circle():
    assert circles(import_graph()) == set()


def test_every_module_has_its_test_file_at_the_mirrored_path_or_in_the_list():
    missing = [
        name.removeprefix("vit_keras.")
        for name, file in modules().items()
        if file.name != "__init__.py"
        and not (ROOT / "tests" / file.relative_to(PACKAGE).parent / f"test_{file.stem.lstrip('_')}.py").is_file()
    ]
    elsewhere = tomllib.loads((ROOT / "tests" / "tested_elsewhere.toml").read_text("utf-8"))
    assert sorted(missing) == sorted(name for names in elsewhere.values() for name in names)
    assert [test for test in elsewhere if not (ROOT / test).is_file()] == []


def test_the_page_of_the_architecture_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("write_architecture", ROOT / "scripts" / "write_architecture.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text("utf-8") == script.architecture(), "run scripts/write_architecture.py"


def test_the_pages_for_contributors_name_at_most_three_files_for_a_question_and_files_that_exist():
    architecture = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## Import rules")[0]
    rows = [line for line in architecture.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    named = [re.findall(r"`([\w./]+/[\w.]*)`", row) for row in rows]
    assert max(map(len, named)) == 3
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named.append(re.findall(r"`([\w./]+/[\w.]*)`", contributing))
    paths = {path for row in named for path in row}
    assert {path for path in paths if not (PACKAGE / path).exists() and not (ROOT / path).exists()} == set()
