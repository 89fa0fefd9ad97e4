"""The cells of each page that is a notebook run, and what they return is shown as more than text."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
NOTEBOOKS = sorted(path for path in (ROOT / "docs").rglob("*.md") if "{code-cell}" in path.read_text("utf-8"))


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_page_run_and_their_values_are_shown_as_html(page, tmp_path):
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # cells run `vit-keras`
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_cells.py")), str(page)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "MPLBACKEND": "Agg", "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    shown = json.loads(done.stdout.splitlines()[-1])
    assert all("<" in html for html in shown.values())
    assert SHOWN.get(page.stem, set()) <= shown.keys()
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert [name for name in re.findall(r"`(runs/[^`\n ]+)`", prose) if not (tmp_path / name).exists()] == []
    assert 'alt="example"' not in shown.get("TrainingResult", "")  # figures, not the image to try the model with
