"""Small directories with random weights, as transformers writes them."""

import json
from pathlib import Path

import numpy as np

SIZES = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
"""Sizes of transformers' models."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of pixels / 255."""

OURS = {"hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48, "image_size": 32, "patch_size": 8}
"""The same sizes, as our fields."""


def write_transformers(folder: Path, model: str, config: str, **changes: object):
    """Writes one of transformers' models with random weights, and returns it."""
    import torch
    import transformers

    torch.manual_seed(0)
    without = changes.pop("without", ())
    sizes = {name: value for name, value in SIZES.items() if name not in without}
    theirs = getattr(transformers, model)(getattr(transformers, config)(**{**sizes, **changes})).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    theirs.save_pretrained(folder)
    return theirs


def write_processor(folder: Path, **settings: object) -> None:
    """Writes a preprocessor_config.json as transformers does."""
    config = {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225], "image_processor_type": "ViTImageProcessor", "resample": 2,
        "rescale_factor": 1 / 255, "size": {"height": 32, "width": 32}, **settings,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def outputs_of(theirs, pixels: np.ndarray, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)):
    """Returns the outputs of transformers' model for pixels 0..255."""
    import torch

    fractions = ((pixels / 255 - mean) / std).astype("float32")
    with torch.no_grad():
        return theirs(pixel_values=torch.from_numpy(fractions.transpose(0, 3, 1, 2)))


def images(count: int = 3, side: int = 32) -> np.ndarray:
    """Returns random pixels."""
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3)).astype("uint8")
