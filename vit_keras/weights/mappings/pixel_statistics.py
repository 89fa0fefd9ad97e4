"""Means and standard deviations of pixels that published models were trained with, as fields of `ViTConfig`."""

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
CLIP = {"pixel_mean": (0.48145466, 0.4578275, 0.40821073), "pixel_std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"pixel_mean": (0.5,), "pixel_std": (0.5,)}
"""Pixels from -1 to 1."""
