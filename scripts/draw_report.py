"""Draws docs/report.jpg: the report of a finished run, as a browser shows it.

    vit-keras train --run-dir runs/demo && python scripts/draw_report.py runs/demo

The report is written again by the code as it is. Needs Chromium and its driver.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

import vit_keras as vk
from vit_keras.training.callbacks.history import read_history
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.report import write_report

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 1180, 1180  # px


def take_screenshot(page: Path) -> Image.Image:
    """Returns the top of a page."""
    sys.path.insert(0, str(ROOT / "tests"))
    from explain.pages import browser, resize

    driver = browser()
    resize(driver, WIDTH, HEIGHT)
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    driver.get(page.as_uri())
    picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    driver.quit()
    return picture


if __name__ == "__main__":
    run = RunDirectory(Path(sys.argv[1]))
    record = run.read()
    options = record["options"]  # those that were given
    data = vk.data.load(options["data"], seed=options.get("seed", 0), limit=options.get("limit"))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report(
            page,
            record=record,
            history=read_history(run.metrics),
            evaluation=vk.evaluate(run.path, data),
            split=data.splits["test"],
            class_names=data.class_names,
        )
        take_screenshot(page).save(ROOT / "docs" / "report.jpg", quality=82, optimize=True)
