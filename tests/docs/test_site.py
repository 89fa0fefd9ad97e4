"""The site is built as `make docs` builds it, but for the cells, which take minutes; those are run one page at a time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.any_backend]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    for name in ("sphinx", "myst_nb", "furo", "sphinx_copybutton"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("built") / "site"
    options = ["-q", "-W", "--keep-going", "-b", "html", "-D", "nb_execution_mode=off"]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder)],
        capture_output=True, text=True, check=False, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site_and_needs_no_network(site):
    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    written = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    assert written <= pages
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', (site / "index.html").read_text("utf-8"))


def test_the_diagram_the_table_and_the_downloads_are_there(site):
    architecture = (site / "architecture.html").read_text("utf-8")
    assert '<svg class="flowchart"' in architecture
    assert "flowchart TD" not in architecture
    assert (site / "reference" / "generated" / "presets.html").read_text("utf-8").count("<tr><td>") > 280
    assert len(list(site.rglob("_downloads/*/*.ipynb"))) >= 8
    assert len(list(site.rglob("_downloads/*/*.json"))) == len(list((ROOT / "benchmarks" / "results").glob("*/*.json")))


def test_the_search_knows_words_of_docstrings_and_of_pages(site):
    index = (site / "searchindex.js").read_text("utf-8")
    assert "attention_rollout" in index
    assert '"reference/generated/measurements"' in index
