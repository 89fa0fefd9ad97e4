"""The cells of each page that is a notebook run, and what they return is shown as more than text."""

import ast
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.any_backend]

SHOWN = {  # what a page must show as more than text
    "first_model": {"ImageData", "PresetInfo", "TrainingResult", "Predictions"},
    "your_photos": {"Recipe", "TrainingResult", "Predictions"},
    "looking_inside": {"Predictions"},
    "take_it_away": {"ExportResult"},
    "tuning": {"SearchResult", "Predictions"},
    "pretraining": {"PretrainingResult", "FeatureEvaluation"},
}
NOTEBOOKS = sorted(path for path in (ROOT / "docs").rglob("*.md") if "{code-cell}" in path.read_text("utf-8"))


def run_cell(code, namespace):
    """Runs a cell, and returns the value that a notebook would show, or None."""
    tree = ast.parse(re.sub(r"\A(?::.*\n)+", "", code))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_page_run_and_their_values_are_shown_as_html(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    namespace = {}
    values = [run_cell(cell, namespace) for cell in cells]
    shown = {type(value).__name__: value._repr_html_() for value in values if hasattr(value, "_repr_html_")}
    assert all("<" in html for html in shown.values())
    assert SHOWN.get(page.stem, set()) <= shown.keys()
