"""Reads transformers' preprocessor_config.json: the statistics of pixels, and how images are resized.

Compared with transformers 5.23, the `image_processing_*.py` of each model.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.errors import CorruptFileError
from vit_keras.weights.mappings.config_fields import HF_PREPROCESSOR, HF_RESAMPLES

_INTERPOLATIONS = {number: name for name, number in HF_RESAMPLES.items()}


def read_pixel_statistics(processor: Any, where: Path) -> dict[str, Any]:
    """Returns mean and std of pixels / 255; transformers applies its own to pixels * rescale_factor."""
    path = where.with_name(HF_PREPROCESSOR)
    if not isinstance(processor, Mapping):
        raise CorruptFileError(f"{path}: expected a JSON object.")
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
        raise CorruptFileError(f"{path}: image_mean={mean!r} and image_std={std!r} are not numbers.") from error
    return {"pixel_mean": fractions[0], "pixel_std": fractions[1]}


def normalize_twice(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Returns mean and std of a normalization by the processor, then by the model."""
    if not first:
        return {}
    mean, std = (np.asarray(first[name]) for name in ("pixel_mean", "pixel_std"))
    means, stds = mean + std * np.asarray(second["pixel_mean"]), std * np.asarray(second["pixel_std"])
    return {"pixel_mean": tuple(means.tolist()), "pixel_std": tuple(stds.tolist())}


def read_preprocessing(processor: Mapping[str, Any], image_size: tuple[int, int]) -> dict[str, Any]:
    """Returns the arguments of `Preprocessing` equivalent to transformers' image processor, at the model's size."""
    interpolation = _INTERPOLATIONS.get(processor.get("resample", 2), "bilinear")
    arguments = {"image_size": image_size, "interpolation": interpolation}
    size, crop_size = processor.get("size"), processor.get("crop_size")
    short = size.get("shortest_edge") if isinstance(size, Mapping) else size if "crop_size" in processor else None
    is_cropped = bool(processor.get("do_center_crop", "crop_size" in processor)) and crop_size is not None
    if not processor.get("do_resize", True):
        return {**arguments, "crop_mode": "center"}
    if short is None and isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        crop = _compute_crop(image_size[0], size["height"]) if is_cropped else 1.0
        return {**arguments, "crop_mode": "squash", "crop": crop}
    if short is not None:
        return {**arguments, "crop_mode": "center", "crop": _compute_crop(min(image_size), short)}
    return {**arguments, "crop_mode": "squash"}


def read_packing(processor: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `Preprocessing` equivalent to transformers' image processor of SigLIP 2 NaFlex."""
    sizes = {name: stated[name] for name in ("image_size", "patch_size", "max_num_patches")}
    return {**sizes, "interpolation": _INTERPOLATIONS.get(processor.get("resample", 2), "bilinear")}


def _compute_crop(side: int, resized: Any) -> float:
    """Returns the fraction for which `Preprocessing` resizes to exactly the same side."""
    if type(resized) is not int or resized <= side:
        return 1.0
    crop = side / resized
    return crop if math.floor(side / crop) == resized else math.nextafter(crop, 0)
