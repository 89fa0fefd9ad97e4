"""The site, built as `make docs` builds it but for the cells, which `test_cells.py` runs; and read in Chromium."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from explain.pages import CHROMIUM, DRIVER, browser, resize

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.any_backend]
KINDS = (
    "index.html",
    "models.html",
    "architecture.html",
    "coming_from.html",
    "notebooks/pixels_to_logits.html",
    "explanation/finetuning.html",
    "reference/files.html",
    "reference/presets.html",
    "reference/recipes.html",
    "reference/measurements.html",
    "reference/generated/command-finetune.html",
    "reference/generated/vit_keras.layers.html",
)


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
    assert not re.search(
        r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', (site / "index.html").read_text("utf-8")
    )


def test_the_diagram_the_table_and_the_downloads_are_there(site):
    architecture = (site / "architecture.html").read_text("utf-8")
    assert '<svg class="flowchart"' in architecture
    assert "flowchart TD" not in architecture
    assert (site / "reference" / "presets.html").read_text("utf-8").count("<tr><td>") > 280
    assert len(list(site.rglob("_downloads/*/*.json"))) == len(list((ROOT / "benchmarks" / "results").glob("*/*.json")))


def test_downloaded_notebooks_have_all_cells_and_no_links_to_pages(site):
    notebooks = {path.stem: json.loads(path.read_text("utf-8")) for path in site.rglob("_downloads/*/*.ipynb")}
    sources = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")}
    assert notebooks.keys() == {name for name, text in sources.items() if "{code-cell}" in text}
    for name, notebook in notebooks.items():
        kinds = [cell["cell_type"] for cell in notebook["cells"]]
        assert kinds.count("code") == sources[name].count("```{code-cell}")
        prose = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
        assert ".md)" not in prose
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_signatures_name_the_arguments(site):
    layers = (site / "reference" / "generated" / "vit_keras.layers.html").read_text("utf-8")
    assert "mlp_dim" in re.search(r'<dt[^>]*id="vit_keras.layers.MLP">(.*?)</dt>', layers, re.DOTALL)[1]
    for page in (site / "reference" / "generated").glob("vit_keras*.html"):
        assert not re.search(r'<span class="pre">\*args</span>', page.read_text("utf-8")), page.name


def test_the_search_knows_words_of_docstrings_and_of_pages(site):
    index = (site / "searchindex.js").read_text("utf-8")
    assert "attention_rollout" in index
    assert '"reference/measurements"' in index


@pytest.fixture(scope="module")
def driver():
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs Chromium and its driver")
    found = browser()
    yield found
    found.quit()


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(site, driver, width):
    resize(driver, width)
    wider = {}
    for page in KINDS:
        driver.get((site / page).as_uri())
        over = driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        wider |= {page: over} if over > 0 else {}
    assert wider == {}


def test_the_search_finds_pages(site, driver):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get((site / "search.html").as_uri() + "?q=register_presets")
    found = WebDriverWait(driver, 30).until(lambda each: each.find_elements(By.CSS_SELECTOR, "#search-results li a"))
    assert any("vit_keras.html" in link.get_attribute("href") for link in found)


def test_the_presets_are_searched_and_sorted_by_keyboard_alone(site, driver):
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        for key in keys:
            driver.switch_to.active_element.send_keys(key)

    def column(number):
        rows = "[...document.querySelectorAll('#preset-table tbody tr')].filter((row) => !row.hidden)"
        return driver.execute_script(
            f"return {rows}.map((row) => row.cells[{number}].dataset.key ?? row.cells[{number}].textContent)"
        )

    resize(driver, 1280)
    driver.get((site / "reference/presets.html").as_uri())
    whole = len(column(0))
    for _ in range(60):
        press(Keys.TAB)
        if driver.switch_to.active_element.get_attribute("id") == "preset-search":
            break
    press("dinov2", " ", "reg4")
    names = column(0)
    assert 0 < len(names) < whole
    assert all("dinov2" in name and "reg4" in name for name in names)

    for _ in range(4):  # the table, which scrolls, then the buttons of its titles
        press(Keys.TAB)
        if driver.switch_to.active_element.text.startswith("parameters"):
            break
    assert driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    press(Keys.ENTER)
    ascending = [float(value) for value in column(1)]
    press(Keys.ENTER)
    descending = [float(value) for value in column(1)]
    assert len(set(ascending)) > 2
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1] or descending == sorted(descending, reverse=True)
