"""Trains the small weights that the package contains, tag `drawings`, and writes them to `vit_keras/presets/embedded/`.

    python scripts/build_drawings.py
    python scripts/train_embedded_weights.py --side 32 [--budget 2400]
    python scripts/train_embedded_weights.py --side 64 [--budget 3600]

Supervised training on Unicode's subgroups with the recipe `small_images`. The model of 64 px starts from the weights of 32 px. The
budget is processor seconds; it decides the number of epochs before training starts. The same command resumes a killed run; one with
another budget is another run. Nothing is chosen by the test style, whose accuracy goes to the model card.
"""

import argparse
import json
import re
import shutil
import time
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from build_drawings import BACKGROUNDS, HASHES, ROOT, STYLES, TEST_STYLE, read_test_images
from build_emoji import halve, write
from safetensors.numpy import load_file, save_file

import vit_keras as vk
from vit_keras.data import ImageData, Split
from vit_keras.runtime.files import file_sha256

EMBEDDED = ROOT / "vit_keras" / "presets" / "embedded"
BATCH_SIZE = 128
VALIDATED = 20  # of this many emoji, one is in the validation split, in every style
TIMED = 40  # steps that are timed to choose the number of epochs
CARD = """
## What it is

Trained on {count:,} drawings of emoji and icons in {styles} styles, each on three backgrounds, to tell the {classes} subgroups of Unicode apart.
Made to start fine-tuning from, on small drawings, icons, symbols and other small pictures, and to try the library without a network.

**Not an ImageNet model**: it has seen no photo. On a photo, its classes mean little.

- Accuracy on {tested:,} emoji of a drawing style that it never saw ({test_style}): {accuracy:.1f} %
- {epochs} epochs, {seconds:,.0f} processor seconds: `scripts/train_embedded_weights.py`
- Weights in float16; they compute in float32 after loading
- Sources and licenses of the drawings: `DRAWINGS-ATTRIBUTION.md`. The weights are under the Apache License 2.0
"""


def load_data(path: Path, side: int) -> ImageData:
    """Returns the drawings; each is three training images, one per background."""
    with np.load(path) as arrays:
        images, labels, tested = arrays["images"], arrays["labels"].astype("int32"), arrays["test_images"]
        held = np.array([zlib.crc32(name.encode()) % VALIDATED == 0 for name in arrays["names"]])
        test_labels, class_names = arrays["test_labels"].astype("int32"), tuple(arrays["class_names"].tolist())
    if side < images.shape[2]:
        images = np.stack([halve(drawn) for drawn in images])
        tested = halve(tested)
    flat = images[~held].reshape(-1, *images.shape[2:])
    return ImageData(
        name=f"drawings-{side}",
        class_names=class_names,
        splits={
            "train": Split(flat, np.repeat(labels[~held], BACKGROUNDS)),
            "validation": Split(np.ascontiguousarray(images[held, 0]), labels[held]),
            "test": Split(tested, test_labels),
        },
        batch_size=BATCH_SIZE,
    )


def make_model(side: int, data: ImageData) -> keras.Model:
    """Returns the model before training: random weights, or those of 32 px at a larger size."""
    name = f"vit_nano_conv8_{side}"
    if side == 32:
        keras.utils.set_random_seed(0)
        return vk.from_preset(name, num_classes=len(data.class_names))
    return vk.from_preset(EMBEDDED / "vit_nano_conv8_32", image_size=side, name=name)


def make_recipe(model: keras.Model, data: ImageData, *, epochs: int) -> vk.training.Recipe:
    """Returns the recipe `small_images` with some images inverted, so that the weights know light drawings on dark paper."""
    recipe = vk.recipes.small_images(model, data, epochs=epochs)
    return recipe.replace(augmentation=recipe.augmentation.replace(invert_rate=0.1))


def choose_epochs(model: keras.Model, data: ImageData, budget: float) -> int:
    """Returns the number of epochs that take so many processor seconds, by timing some steps after compiling."""
    part = data.limit((TIMED + 1) * BATCH_SIZE)
    recipe = make_recipe(model, part, epochs=2)
    timed = recipe.prepare(model)
    timed.compile(**recipe.compile_kwargs())
    timed.fit(recipe.batches().take(2), epochs=1, verbose=0)
    started = time.process_time()
    timed.fit(recipe.batches().take(TIMED), epochs=1, verbose=0)
    per_step = (time.process_time() - started) / TIMED
    epochs = max(1, round(budget / (per_step * data.steps_per_epoch)))
    print(f"{1000 * per_step:.0f} processor ms per step, {data.steps_per_epoch} steps per epoch: {epochs} epochs")
    return epochs


class ProcessorClock(keras.callbacks.Callback):
    """Adds up the processor seconds of a run in its plan, over interruptions."""

    def __init__(self, plan: Path) -> None:
        super().__init__()
        self.plan, self.since = plan, time.process_time()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the sum so far."""
        now = time.process_time()
        saved = json.loads(self.plan.read_text())
        self.plan.write_text(json.dumps({**saved, "processor_seconds": saved["processor_seconds"] + now - self.since}))
        self.since = now


def write_embedded(model: keras.Model, record: dict[str, Any]) -> Path:
    """Writes a model to the package: weights in float16, class names, model card, and how it was trained."""
    target = EMBEDDED / model.name
    shutil.rmtree(target, ignore_errors=True)
    vk.save_preset(model, target, notes=CARD.format(**record))
    card = (target / "README.md").read_text()
    card = re.sub("license: unknown.*", "license: apache-2.0", card)
    card = card.replace(f'"path/to/{model.name}"', f'"{model.name}", weights="drawings"')
    (target / "README.md").write_text(card)
    weights, config = target / "model.safetensors", target / "config.json"
    halved = {name: value.astype("float16") for name, value in load_file(weights).items()}
    save_file(halved, weights)
    weights.chmod(0o644)  # safetensors makes it readable by its owner alone
    saved = json.loads(config.read_text())
    config.write_text(json.dumps({**saved, "sha256": {weights.name: file_sha256(weights)}}, indent=2) + "\n")
    (target / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    return target


def record_logits(model: keras.Model) -> Path:
    """Writes the logits of some test emoji, which a test compares on every backend."""
    indices = np.arange(0, 1600, 200)
    images = read_test_images()[indices]
    if model.input_shape[1] != images.shape[1]:
        images = images.repeat(2, axis=1).repeat(2, axis=2)
    path = HASHES.with_name(f"{model.name}_drawings.npz")
    write({"indices": indices, "logits": model.predict(images, verbose=0)}, path)
    return path


def main() -> None:
    """Trains, and writes the weights to the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs" / "drawings.npz")
    parser.add_argument("--side", type=int, choices=(32, 64), default=32, help="px")
    parser.add_argument("--budget", type=float, default=2400.0, help="processor seconds")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of the runs")
    options = parser.parse_args()
    data = load_data(options.data, options.side)
    print(data, flush=True)
    model = make_model(options.side, data)
    run = options.runs / f"embedded-{options.side}-{options.budget:.0f}"
    plan = run.with_name(f"{run.name}.json")
    if not plan.exists():
        plan.parent.mkdir(parents=True, exist_ok=True)
        epochs = choose_epochs(model, data, options.budget)
        plan.write_text(json.dumps({"epochs": epochs, "processor_seconds": 0.0}))
    epochs = json.loads(plan.read_text())["epochs"]
    recipe = make_recipe(model, data, epochs=epochs)
    callbacks = [ProcessorClock(plan)]
    result = vk.train(model, data, recipe=recipe, run_dir=run, resume=run.exists(), callbacks=callbacks)
    results = result.record["results"]
    record = {
        "drawings": file_sha256(HASHES),
        "count": len(data.splits["train"]) // BACKGROUNDS,
        "styles": len(STYLES),
        "classes": len(data.class_names),
        "test_style": TEST_STYLE[0],
        "tested": len(data.splits["test"]),
        "accuracy": round(100 * results["test_accuracy"], 1),
        "nearest_neighbor": round(100 * results["nearest_neighbour_accuracy"], 1),
        "epochs": epochs,
        "seconds": round(json.loads(plan.read_text())["processor_seconds"]),
    }
    trained = vk.from_preset(run / "model", name=model.name)
    print(write_embedded(trained, record), record)
    print(record_logits(vk.from_preset(model.name, weights="drawings")))


if __name__ == "__main__":
    main()
