"""Makes `tests/golden/augmentation/*.npz`: the results of timm and torchvision for one small picture, without randomness.

    pip install timm torchvision "pillow<13"  # timm posterizes to 0 bits, which later versions refuse
    python scripts/make_augmentation_references.py

`operations.npz` has the picture (`rgb`, `l`) and `MODE/OPERATION/ARGUMENT/KERNEL`; `arguments.npz` the arguments of magnitudes, for
both signs; `three_augment.npz` each kind with one jitter; `crops.npz` boxes with their random numbers, and resized crops.
"""

import random
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from timm.data import auto_augment, transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision

OUT = Path(__file__).parent.parent / "tests" / "golden" / "augmentation"
KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MOVING = {"rotate": (27.0, -13.5), "shear_x": (0.2, -0.3), "shear_y": (0.2, -0.3), "translate_x": (0.3, -0.45), "translate_y": (0.3, -0.45)}  # fmt: skip
PAINTING = {
    "autocontrast": (None,), "equalize": (None,), "invert": (None,), "posterize": (0, 1, 3, 4), "solarize": (0, 102, 256),
    "solarize_add": (30, 110), "color": (0.1, 0.6, 1.7), "contrast": (0.1, 0.6, 1.7), "brightness": (0.1, 0.6, 1.7),
    "sharpness": (0.1, 0.6, 1.7),
}  # fmt: skip
NAMES = {
    "autocontrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert", "rotate": "Rotate", "posterize": "Posterize",
    "solarize": "Solarize", "solarize_add": "SolarizeAdd", "color": "Color", "contrast": "Contrast", "brightness": "Brightness",
    "sharpness": "Sharpness", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}  # fmt: skip
MAGNITUDES = np.arange(0, 15.25, 0.25)


def picture() -> Image.Image:
    """Returns 48x36 px with gradients, edges and noise in every channel, without black and white."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:36, :48] / 48
    waves = [np.sin(7 * x + channel) * np.cos(5 * y - channel) for channel in range(3)]
    pixels = 125 + 80 * np.stack(waves, axis=-1) + rng.normal(0, 6, (36, 48, 3))
    pixels[10:22, 14:30] = (205, 60, 35)
    return Image.fromarray(pixels.clip(9, 241).astype("uint8"))


def operations(image: Image.Image) -> dict[str, np.ndarray]:
    """Returns every operation with fixed arguments, in color and gray."""
    results = {}
    for mode in ("RGB", "L"):
        source = image.convert(mode)
        results[mode.lower()] = np.asarray(source)
        fill = (128, 128, 128) if mode == "RGB" else 128
        for name, arguments in {**MOVING, **PAINTING}.items():
            change = auto_augment.NAME_TO_OP[NAMES[name]]
            for argument in arguments if mode == "RGB" else arguments[:1]:
                for kernel in KERNELS if name in MOVING else ("none",):
                    words = () if argument is None else (argument,)
                    how = {"resample": KERNELS.get(kernel), "fillcolor": fill} if name in MOVING else {}
                    key = f"{mode.lower()}/{name}/{0 if argument is None else argument}/{kernel}"
                    results[key] = np.asarray(change(source, *words, **how))
    return results


def arguments() -> dict[str, np.ndarray]:
    """Returns `SET/OPERATION`: two rows, for both signs, of one number per magnitude."""
    results = {"magnitudes": MAGNITUDES}
    for kind, names in (
        ("plain", auto_augment._RAND_TRANSFORMS),
        ("increasing", auto_augment._RAND_INCREASING_TRANSFORMS),
    ):
        for ours, theirs in zip(NAMES, names, strict=True):
            convert = auto_augment.LEVEL_TO_ARG[theirs]
            if convert is None:
                continue
            rows = []
            for draw in (0.1, 0.9):
                with patch.object(random, "random", lambda draw=draw: draw):
                    rows.append([convert(magnitude, {})[0] for magnitude in MAGNITUDES.tolist()])
            results[f"{kind}/{ours}"] = np.array(rows)
    return results


def three_augment(image: Image.Image) -> dict[str, np.ndarray]:
    """Returns DeiT III's three augmentations, as in its `augment.py`, followed by torchvision's jitter in one order."""
    three = {
        "grey": torchvision.rgb_to_grayscale(image, 3),
        "solarize": ImageOps.solarize(image),
        "blur": image.filter(ImageFilter.GaussianBlur(radius=1.3)),
    }
    results = {}
    for name, changed in three.items():
        changed = torchvision.adjust_saturation(changed, 1.2)
        changed = torchvision.adjust_brightness(changed, 0.8)
        results[name] = np.asarray(torchvision.adjust_contrast(changed, 1.1))
    return results


class Script:
    """Replaces timm's `random` with the numbers of ten tries of (area, ratio, left, top)."""

    def __init__(self, draws: np.ndarray) -> None:
        self.draws, self.uniforms, self.whole = draws.tolist(), 0, 0

    def uniform(self, low: float, high: float) -> float:
        """Returns area and ratio in turns; each pair is a try."""
        attempt, place = divmod(self.uniforms, 2)
        self.uniforms += 1
        return low + (high - low) * self.draws[attempt][place]

    def randint(self, low: int, high: int) -> int:
        """Returns top, then left, of the try that fits."""
        draw = self.draws[self.uniforms // 2 - 1][3 - self.whole]
        self.whole += 1
        return low + int(draw * (high - low + 1))


def crops(image: Image.Image) -> dict[str, np.ndarray]:
    """Returns timm's boxes for sizes and draws, and torchvision's resized crops."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(20, 600, (60, 2))
    sizes[40:, 1] = sizes[40:, 0] // 6  # too wide for most tries
    draws, boxes = rng.random((len(sizes), 10, 4)), []
    for size, numbers in zip(sizes.tolist(), draws, strict=True):
        script = Script(numbers)
        with patch.object(random, "uniform", script.uniform), patch.object(random, "randint", script.randint):
            top, left, height, width = transforms.RandomResizedCropAndInterpolation.get_params(
                Image.new("L", size), (0.3, 1.0), (3 / 4, 4 / 3)
            )
        boxes.append((left, top, left + width, top + height))
    resized = torchvision.resized_crop(image, 5, 9, 24, 31, [20, 22], InterpolationMode.BICUBIC)
    return {"sizes": sizes, "draws": draws, "boxes": np.array(boxes), "resized": np.asarray(resized)}


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    image = picture()
    for name, arrays in {
        "operations": operations(image),
        "arguments": arguments(),
        "three_augment": three_augment(image),
        "crops": crops(image),
    }.items():
        np.savez_compressed(OUT / f"{name}.npz", **arrays)
        print(f"{name}: {len(arrays)} arrays")
