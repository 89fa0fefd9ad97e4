"""The cells of each page that is a notebook run, and what they return is shown as more than text."""

import ast
import os
import re
import sys
from pathlib import Path

import pytest
from snippets import shorten

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.any_backend]

SHOWN = {  # what a page must show as more than text
    "first_model": {"ImageData", "PresetInfo", "TrainingResult", "Predictions"},
    "your_photos": {"Checkup", "Recipe", "TrainingResult", "Predictions"},
    "looking_inside": {"Predictions"},
    "take_it_away": {"ExportResult"},
    "tuning": {"SearchResult", "Predictions"},
    "pretraining": {"PretrainingResult", "FeatureEvaluation"},
}
SMALLER = {  # what only makes a page's results better; `make docs` runs the cells as they are
    "first_model": {"limit=600": "limit=96", "epochs=6": "epochs=1"},
    "your_photos": {"images[:400]": "images[:120]", "epochs=12": "epochs=1"},
    "tuning": {
        "limit=200": "limit=96",
        "IntRange(1, 4)": "IntRange(1, 2)",
        '"6 trials", epochs=4': '"2 trials", epochs=2',
    },
    "pretraining": {"limit=600": "limit=96", "epochs=4": "epochs=1", "limit(160)": "limit(64)"},
}
NOTEBOOKS = sorted(path for path in (ROOT / "docs").rglob("*.md") if "{code-cell}" in path.read_text("utf-8"))


def run_cell(code, namespace):
    """Runs a cell, and returns the value that a notebook would show, or None."""
    tree = ast.parse(re.sub(r"\A(?::.*\n)+", "", code))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, where `vit-keras` is a command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_page_run_and_their_values_are_shown_as_html(page, folder):
    text = page.read_text("utf-8")
    for words, fewer in SMALLER.get(page.stem, {}).items():
        assert words in text
        text = text.replace(words, fewer)
    namespace = {}
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    values = [run_cell(shorten(cell), namespace) for cell in cells]
    shown = {type(value).__name__: value._repr_html_() for value in values if hasattr(value, "_repr_html_")}
    shown = {name: html for name, html in shown.items() if html}
    assert all("<" in html for html in shown.values())
    assert SHOWN.get(page.stem, set()) <= shown.keys()
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert [name for name in re.findall(r"`(runs/[^`\n ]+)`", prose) if not Path(name).exists()] == []
    assert 'alt="example"' not in shown.get("TrainingResult", "")  # figures, not the image to try the model with
