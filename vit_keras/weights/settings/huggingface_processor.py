"""Reads what transformers' files say of preprocessing: the statistics of pixels, and how images are resized.

Compared with transformers 5.23, the `image_processing_*.py` of each model.
"""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.errors import CorruptFileError
from vit_keras.weights.mappings.config_fields import CLIP, HALF, HF_RESAMPLES, IMAGENET

_log = logging.getLogger(__name__)


def _statistics(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"image_mean": fields["pixel_mean"], "image_std": fields["pixel_std"]}


_CROPPED = {
    "resample": 3,
    "size": {"shortest_edge": 224},
    "crop_size": 224,
    "do_center_crop": True,
    **_statistics(CLIP),
}
# By transformers' class, what it does where a file leaves it out.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ViT": {"resample": 2, **_statistics(HALF)},
    "DeiT": {
        **_CROPPED, "size": {"height": 256, "width": 256}, **_statistics(HALF),
    },
    "Beit": {"resample": 3, "do_center_crop": False, **_statistics(HALF)},
    "CLIP": _CROPPED,
    "Bit": _CROPPED,
    "ConvNext": {"resample": 3, "size": {"shortest_edge": 384}, "crop_pct": 224 / 256, **_statistics(HALF)},
    "Siglip": {"resample": 3, **_statistics(HALF)},
    "Siglip2": {"resample": 2, **_statistics(HALF)},
    "DINOv3ViT": {"resample": 2, **_statistics(IMAGENET)},
    "OwlViT": {"resample": 3, "do_center_crop": False, **_statistics(CLIP)},
    "GotOcr2": {"resample": 3, **_statistics(CLIP)},
}  # fmt: skip
_SHORTER_SIDE = ("CLIP", "Bit", "ConvNext", "Siglip")  # whose `size` in one number is that of the shorter side
_INTERPOLATIONS = {number: name for name, number in HF_RESAMPLES.items()}


def complete_processor(processor: Any, where: Path) -> dict[str, Any]:
    """Returns transformers' settings of image preprocessing with those that its class adds, and with `size` as a mapping."""
    if not isinstance(processor, Mapping):
        raise CorruptFileError(f"{where.parent}: the settings of the image processor are no JSON object.")
    stated = str(processor.get("image_processor_type") or processor.get("feature_extractor_type") or "")
    kind = re.sub("(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", stated)
    if stated and kind not in _DEFAULTS:
        _log.warning(
            "%s: images are not preprocessed by %s, which vit_keras does not know; outputs may differ",
            where.parent,
            stated,
        )
    completed = {**_DEFAULTS.get(kind, {}), **processor}
    if isinstance(size := completed.get("size"), int):
        is_shorter = kind in _SHORTER_SIDE or (not stated and "crop_size" in processor)
        completed["size"] = {"shortest_edge": size} if is_shorter else {"height": size, "width": size}
    return completed


def read_pixel_statistics(processor: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns mean and std of pixels / 255; transformers applies its own to pixels * rescale_factor."""
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    scale = 255 * factor
    mean: Any = 0.0
    std: Any = 1.0
    if processor.get("do_normalize", True):
        mean, std = processor.get("image_mean"), processor.get("image_std")
        if mean is None or std is None:
            return {}
    scale = 1.0 if math.isclose(scale, 1.0, rel_tol=1e-6) else scale
    values = [tuple(item) if isinstance(item, list | tuple) else (item,) for item in (mean, std)]
    try:
        fractions = [tuple(float(number) / scale for number in numbers) for numbers in values]
    except (TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{where.parent}: image_mean={mean!r} and image_std={std!r} of the image processor are not numbers."
        ) from error
    return {"pixel_mean": fractions[0], "pixel_std": fractions[1]}


def normalize_twice(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Returns mean and std of a normalization by the processor, then by the model."""
    if not first:
        return {}
    mean, std = (np.asarray(first[name]) for name in ("pixel_mean", "pixel_std"))
    means, stds = mean + std * np.asarray(second["pixel_mean"]), std * np.asarray(second["pixel_std"])
    return {"pixel_mean": tuple(means.tolist()), "pixel_std": tuple(stds.tolist())}


def read_preprocessing(processor: Mapping[str, Any], image_size: tuple[int, int], where: Path) -> dict[str, Any]:
    """Returns the arguments of `Preprocessing` equivalent to transformers' image processor, at the model's size."""
    arguments = {"image_size": image_size, "interpolation": _read_interpolation(processor, where)}
    if not processor.get("do_resize", True):
        if processor.get("do_center_crop"):
            _log.warning(
                "%s: images are resized to %s px, while its image processor cuts out the center",
                where.parent,
                image_size,
            )
        return {**arguments, "crop_mode": "center"}
    sizes = size if isinstance(size := processor.get("size"), Mapping) else {}
    short = sizes.get("shortest_edge")
    if "longest_edge" in sizes:
        _log.warning(
            "%s: its image processor keeps the longer side of an image within longest_edge=%s px; vit_keras does not, so "
            "outputs differ for images of other proportions",
            where.parent, sizes["longest_edge"],
        )  # fmt: skip
    mode, side, resized = (
        ("squash", image_size[0], sizes.get("height")) if short is None else ("center", min(image_size), short)
    )
    cropped, crop_size = resized, processor.get("crop_size")
    if short is not None and "crop_pct" in processor:  # of ConvNeXt
        mode, resized = ("squash", short) if short >= 384 else (mode, int(short / processor["crop_pct"]))
    elif processor.get("do_center_crop", "crop_size" in processor) and crop_size is not None:
        cropped = crop_size.get("height") if isinstance(crop_size, Mapping) else crop_size
    if type(cropped) is int and cropped != side:
        _log.warning(
            "%s: its image processor makes images of %s px, and the model is built for %s px, as config.json says; outputs are "
            "transformers' with image_size=%s",
            where.parent, cropped, side, cropped,
        )  # fmt: skip
    return {**arguments, "crop_mode": mode, "crop": _compute_crop(cropped, resized)}


def read_packing(processor: Mapping[str, Any], stated: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Returns the arguments of `Preprocessing` equivalent to transformers' image processor of SigLIP 2 NaFlex."""
    sizes = {name: stated[name] for name in ("image_size", "patch_size", "max_num_patches")}
    return {**sizes, "interpolation": _read_interpolation(processor, where)}


def _read_interpolation(processor: Mapping[str, Any], where: Path) -> str:
    number = processor.get("resample", HF_RESAMPLES["bilinear"])
    if number not in _INTERPOLATIONS:
        _log.warning(
            "%s: images are resized by bilinear interpolation, not by resample=%r of its image processor",
            where.parent,
            number,
        )
    return _INTERPOLATIONS.get(number, "bilinear")


def _compute_crop(side: Any, resized: Any) -> float:
    """Returns the fraction for which `Preprocessing` resizes to exactly the same side."""
    if type(resized) is not int or type(side) is not int or not 0 < side < resized:
        return 1.0
    crop = side / resized
    return crop if math.floor(side / crop) == resized else math.nextafter(crop, 0)
