"""Draws augmented photos, for visual inspection.

    python scripts/draw_augmentations.py FOLDER

One sheet for each strength and one for RandAugment's operations; `docs/augmentation.png` is `all.png`. The photos are scikit-learn's,
see `docs/AUGMENTATION-ATTRIBUTION.md`.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from vit_keras.data import Split
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.data.augment.mixing import mix
from vit_keras.data.augment.operations import OPERATIONS, PLAIN_OPERATIONS
from vit_keras.data.augment.sheets import draw_sheet
from vit_keras.data.dataset.pipeline import make_training_image

NAMES = ("temple", "flower")
VARIANTS, SHOWN = 12, 5


def load_photos() -> Split:
    """Returns two photos, 224 px, each of its own class."""
    squares = [
        Image.fromarray(photo).crop((106, 0, 533, 427)).resize((224, 224)) for photo in load_sample_images().images
    ]
    return Split(np.stack(squares), np.arange(2, dtype="int32"))


def augment(split: Split, name: str, step: int) -> tuple[np.ndarray, list[str]]:
    """Returns both photos, augmented as in a training step, and their targets as text."""
    augmentation = STRENGTHS[name]
    images = np.stack([make_training_image(split, index, augmentation, key=(step, index)) for index in range(2)])
    seed = np.array([7, step])
    if augmentation.erase_rate:
        images = type(augmentation)(erase_rate=augmentation.erase_rate).apply(images, seed=seed)
    if not augmentation.mixes:
        return np.asarray(images), ["", ""]
    images, targets = mix(
        images,
        split.labels,
        num_classes=2,
        seed=seed,
        mixup_alpha=augmentation.mixup_alpha,
        cutmix_alpha=augmentation.cutmix_alpha,
        mix_rate=augmentation.mix_rate,
        switch_rate=augmentation.switch_rate,
    )
    return np.asarray(images), [
        f"{target[index]:.0%} {NAMES[index]}" for index, target in enumerate(np.asarray(targets))
    ]


def draw_strengths(split: Split, out: Path) -> None:
    """Draws a sheet per strength, and one with the flower at all strengths."""
    rows = {}
    for name in STRENGTHS:
        steps = [augment(split, name, step) for step in range(VARIANTS)]
        variants = [[images[index] for images, _ in steps] for index in range(2)]
        titles = [[NAMES[index], *(words[index] for _, words in steps)] for index in range(2)]
        draw_sheet(split.images, variants, titles, out / f"{name}.png")
        rows[name] = variants[1][:SHOWN], [name, *titles[1][1 : SHOWN + 1]]
    del rows["none"]
    variants, titles = ([row[part] for row in rows.values()] for part in (0, 1))
    draw_sheet([split.images[1]] * len(rows), variants, titles, out / "all.png")
    sheet = Image.open(out / "all.png").convert("RGB")
    sheet.quantize(palette=sheet.quantize(160, Image.Quantize.MEDIANCUT)).save(
        out / "all.png", optimize=True
    )  # a quarter of the size


def draw_operations(split: Split, out: Path) -> None:
    """Draws RandAugment's operations at magnitudes 3, 6 and 9."""
    for kind, operations in (("increasing", OPERATIONS), ("plain", PLAIN_OPERATIONS)):
        rng, image = np.random.default_rng(0), Image.fromarray(split.images[1])
        magnitudes = (3.0, 6.0, 9.0)
        variants = [
            [operation.apply(image, magnitude, rng) for magnitude in magnitudes] for operation in operations.values()
        ]
        pixels = [[np.asarray(variant) for variant in row] for row in variants]
        titles = [[name, *(f"{magnitude:g}" for magnitude in magnitudes)] for name in operations]
        draw_sheet([split.images[1]] * len(titles), pixels, titles, out / f"operations_{kind}.png")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    draw_strengths(load_photos(), folder)
    draw_operations(load_photos(), folder)
    print(f"{len(list(folder.iterdir()))} sheets in {folder}")
