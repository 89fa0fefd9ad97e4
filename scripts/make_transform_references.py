"""Makes `tests/golden/transforms.npz`: twenty photos resized by timm's own evaluation transforms.

    pip install timm torchvision scikit-learn
    python scripts/make_transform_references.py

The array `NAME/RULE` is `(height, width, 3)`, uint8; names and rules are those of `tests/photos.py`.
"""

import sys
from pathlib import Path

import numpy as np
from timm.data import create_transform

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from photos import RULES, photos, upright_on_white  # noqa: E402 - found by the line above

if __name__ == "__main__":
    references = {}
    for number, (name, content) in enumerate(photos().items()):
        rule_name = list(RULES)[number % len(RULES)]
        rule = RULES[rule_name]
        transform = create_transform(
            input_size=(3, *rule["image_size"]),
            crop_pct=rule["crop"],
            crop_mode=rule.get("crop_mode"),
            interpolation=rule.get("interpolation", "bicubic"),
            mean=(128 / 255,) * 3,  # only the color of timm's border, without normalization
            normalize=False,
        )
        references[f"{name}/{rule_name}"] = np.asarray(transform(upright_on_white(content))).transpose(1, 2, 0)
    np.savez_compressed(ROOT / "tests" / "golden" / "transforms.npz", **references)
    print(f"{len(references)} references")
