"""Writes transformers' preprocessor_config.json."""

import math
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.weights.mappings.config_fields import HF_RESAMPLES
from vit_keras.weights.writers.requirements import repeat_per_channel


def huggingface_preprocessor(config: ViTConfig, preprocessing: Preprocessing) -> dict[str, Any] | None:
    """Returns transformers' preprocessor_config.json; None where it has no such way to resize.

    Crops differ from ours by at most one px: of an odd margin, transformers always cuts the larger half at the bottom and right.
    It resizes with Pillow or, where installed, with torchvision, which rounds differently.
    """
    pixels = {
        "do_convert_rgb": config.channels == 3,
        "do_resize": True,
        "resample": HF_RESAMPLES[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": repeat_per_channel(config.pixel_mean, config.channels),
        "image_std": repeat_per_channel(config.pixel_std, config.channels),
    }
    if preprocessing.packs:
        sizes = {"patch_size": preprocessing.patch_size, "max_num_patches": preprocessing.max_num_patches}
        return {"image_processor_type": "Siglip2ImageProcessor", **pixels, **sizes}
    height, width = (math.floor(side / preprocessing.crop) for side in preprocessing.image_size)  # before the crop
    size: dict[str, int]
    if preprocessing.crop_mode == "squash":
        size = {"height": height, "width": width}
    elif preprocessing.crop_mode == "center" and len(set(preprocessing.image_size)) == 1:
        size = {"shortest_edge": height}
    else:  # it can neither cover a rectangle nor pad
        return None
    return {
        # The only class that knows both kinds of size and crops in every version of transformers, with and without torchvision.
        "image_processor_type": "BitImageProcessor",
        **pixels,
        "size": size,
        "do_center_crop": (height, width) != tuple(preprocessing.image_size) or "shortest_edge" in size,
        "crop_size": {"height": config.image_size[0], "width": config.image_size[1]},
    }
