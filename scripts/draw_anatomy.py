"""Draws docs/anatomy.jpg: screenshots of the page of one forward pass of a trained DINOv2-shaped ViT-S/14.

    python scripts/draw_anatomy.py [--keep PAGE]

Needs Chromium and its driver. The checkpoint and the photograph are those of `scripts/draw_attention.py`.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from draw_attention import ROOT, download_checkpoint
from PIL import Image

import vit_keras as vk

SIDE = 224  # px


def load_photograph() -> np.ndarray:
    """Returns a photograph of a temple, cropped to a square."""
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image("china.jpg"))
    left = (image.width - image.height) // 3
    square = image.crop((left, 0, left + image.height, image.height))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def take_screenshots(page: Path) -> list[Image.Image]:
    """Returns the page's first steps, and those inside a block."""
    sys.path.insert(0, str(ROOT / "tests"))
    from explain.pages import browser, resize

    driver = browser()
    resize(driver, 1180, 780)
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    driver.get(page.as_uri())
    driver.implicitly_wait(10)
    driver.find_element("id", "classifier")
    pictures = []
    for place in ("image", "softmax"):
        driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", place)
        pictures.append(Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB"))
    driver.quit()
    return pictures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep the page here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        page = arguments.keep or Path(name) / "anatomy.html"
        model = vk.from_preset(
            "vit_small_patch14_dinov2", weights=str(download_checkpoint(Path(name))), image_size=(SIDE, SIDE)
        )
        vk.explain.anatomy_report(model, load_photograph(), page.absolute(), title="vit_small_patch14_dinov2")
        pictures = take_screenshots(page.absolute())
    sheet = Image.new("RGB", (pictures[0].width, sum(picture.height for picture in pictures)))
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (0, place * picture.height))
    sheet.save(ROOT / "docs" / "anatomy.jpg", quality=82, optimize=True)
