"""The `preprocessor_config.json` from which transformers prepares images as our model's preprocessing does."""

from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.weights.writers.resizing_rule import ResizingRule, each_channel, size_before_cropping

RESAMPLES = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
"""Our interpolations, and Pillow's numbers of them, which transformers writes."""


def huggingface_preprocessor(config: ViTConfig, rule: ResizingRule) -> dict[str, Any] | None:
    """Returns transformers' `preprocessor_config.json`; None where it has no such way to resize.

    What is cut off an image is that of our rule to one px: where the margin is odd, transformers cuts the larger half at the
    bottom and right, always. Its preprocessing is Pillow's, or that of torchvision where that is installed, which rounds otherwise.

    Args:
        config: The model's.
        rule: What brings an image to its size.

    Example:
        >>> from vit_keras.weights.writers.resizing_rule import rule_for
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> huggingface_preprocessor(config, rule_for(config, None))["size"]
        {'shortest_edge': 32}
    """
    height, width = size_before_cropping(rule)
    size: dict[str, int]
    if rule.crop_mode == "squash":
        size = {"height": height, "width": width}
    elif rule.crop_mode == "center" and len(set(rule.image_size)) == 1:
        size = {"shortest_edge": height}
    else:  # it can neither cover a rectangle nor frame what is too short
        return None
    return {
        # The one class that knows both sizes and crops in every version of transformers, with torchvision and without.
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": config.channels == 3,
        "do_resize": True,
        "size": size,
        "resample": RESAMPLES[rule.interpolation],
        "do_center_crop": (height, width) != tuple(rule.image_size) or "shortest_edge" in size,
        "crop_size": {"height": config.image_size[0], "width": config.image_size[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": each_channel(config.pixel_mean, config.channels),
        "image_std": each_channel(config.pixel_std, config.channels),
    }
