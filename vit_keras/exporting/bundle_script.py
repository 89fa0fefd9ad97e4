"""Writes `predict.py` of a bundle: a short program for one model, which needs numpy, Pillow and onnxruntime alone."""

import math

from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.exporting.record import ExportRecord

_SCRIPT = '''"""Classifies images: python predict.py IMAGE ... It needs numpy, Pillow and onnxruntime."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent
FACTS = json.loads((FOLDER / "export.json").read_text("utf-8"))
SESSION = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])
NAMES = FACTS["class_names"]


def load(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode{modes}:  # more than 8 bits
        image = Image.fromarray(((np.asarray(image, "float64") - {low}) * {scale}).round().clip(0, 255).astype("uint8"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("{mode}")
{resize}
    return np.asarray(image, "uint8").reshape(1, {height}, {width}, {channels})


for path in sys.argv[1:]:
    outputs = SESSION.run(None, {{"images": load(path)}})[0][0].astype("float64")
    print(path)
{answer}
'''
_SIZES = {
    "square": "[{tall} if side == min(w, h) else int({tall} * side / min(w, h)) for side in (w, h)]",
    "center": "[round(side / min(w / {wide}, h / {tall})) for side in (w, h)]",
    "squash": "[{wide}, {tall}]",
    "border": "[round(side / max(w / {wide}, h / {tall})) for side in (w, h)]",
}
"""Width and height of the resized image, before the middle of `height` x `width` px is cut out of it."""
_CROP = """    w, h = image.size
    size = {size}
    left, top = round((size[0] - {width}) / 2), round((size[1] - {height}) / 2)
    x, y = w / size[0], h / size[1]
    box = left * x, top * y, min((left + {width}) * x, w), min((top + {height}) * y, h)
    image = image.resize(({width}, {height}), Image.Resampling.{way}, box=box)"""
_BORDER = """    w, h = image.size
    size = {size}
    left, top = (round(more / 2) if more >= 0 else -(-more // 2) for more in (size[0] - {width}, size[1] - {height}))
    if left < 0 or top < 0:
        whole, image = image.resize(size, Image.Resampling.{way}), Image.new("{mode}", ({width}, {height}), {gray})
        image.paste(whole, (-left, -top))
    else:
        x, y = w / size[0], h / size[1]
        box = left * x, top * y, min((left + {width}) * x, w), min((top + {height}) * y, h)
        image = image.resize(({width}, {height}), Image.Resampling.{way}, box=box)"""
_PROBABILITIES = {
    ("single_label", "logits"): "np.exp(outputs - np.logaddexp.reduce(outputs))",
    ("multi_label", "logits"): "np.exp(-np.logaddexp(0, -outputs))",
}
_LABELS = """    labels = [NAMES[index] for index in np.argsort(-probabilities, kind="stable") if probabilities[index] >= {threshold}]
    print("  " + (", ".join(labels) or "no class") + " (threshold {threshold:.2f})")
"""
_CLASSES = """    for index in np.argsort(-probabilities, kind="stable")[:5]:
        print(f"  {probabilities[index]:7.2%}  {NAMES[index]}")"""
_NUMBERS = """    for name, value in zip(NAMES, outputs):
        print(f"  {value:10.6g}  {name}")"""


def predict_script(record: ExportRecord) -> str:
    """Returns a program that prints what `vit-keras predict` prints of images, from `model.onnx` and `export.json` beside it."""
    rule = Preprocessing.from_dict(record.preprocessing)
    (height, width), mode = rule.image_size, "RGB" if rule.channels == 3 else "L"
    low, high = rule.pixel_range or (0, 65535)
    return _SCRIPT.format(
        modes='.startswith("I")' if rule.pixel_range is None else ' == "F" or image.mode.startswith("I")',
        low=low,
        scale=255 / (high - low),
        mode=mode,
        resize=_format_resize(rule, mode),
        height=height,
        width=width,
        channels=rule.channels,
        answer=_format_answer(record),
    )


def _format_resize(rule: Preprocessing, mode: str) -> str:
    height, width = rule.image_size
    tall, wide = (math.floor(side / rule.crop) for side in (height, width))
    kind = "square" if rule.crop_mode == "center" and tall == wide else rule.crop_mode
    lines = _BORDER if kind == "border" else _CROP
    return lines.format(
        size=_SIZES[kind].format(tall=tall, wide=wide),
        height=height,
        width=width,
        way=rule.interpolation.upper(),
        mode=mode,
        gray=(128,) * 3 if mode == "RGB" else 128,
    )


def _format_answer(record: ExportRecord) -> str:
    if record.task == "regression":
        return _NUMBERS
    probabilities = f"    probabilities = {_PROBABILITIES.get((record.task, record.output), 'outputs')}\n"
    if record.task != "multi_label":
        return probabilities + _CLASSES
    threshold = 0.5 if record.threshold is None else record.threshold
    return probabilities + _LABELS.format(threshold=threshold) + _CLASSES
