"""Training images per second from a folder of JPEGs, compared with the loaders of torchvision, timm and Keras.

    python benchmarks/data_loading.py [--images 1000] [--rounds 5] [--epochs 3] [--peers PYTHON]

Random resized crop and flip to 224 px in batches of 64, bilinear, without and with RandAugment (`rand-m9-mstd0.5-inc1`, and `mmax9`, since
timm's posterize at 10 fails with Pillow 13). Each loader runs in its own process and waits during the others' turns; torchvision and timm
have two workers. `--peers` is a Python with torchvision and timm. Memory is this library's process over `--epochs` epochs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
SIZE, BATCH, WORKERS = 224, 64, 2
RAND_AUGMENT = "rand-m9-mstd0.5-inc1-mmax9"
KINDS = ("crop and flip", "with RandAugment")


def ours(folder: str, kind: str) -> Callable[[], Iterable[object]]:
    """Returns a function that makes an epoch of this library's training batches."""
    import vit_keras as vk

    rule = vk.data.Preprocessing(image_size=(SIZE, SIZE), interpolation="bilinear")
    data = vk.data.load(folder, preprocessing=rule, batch_size=BATCH, split=(0.001, 0.001))
    augmentation = vk.data.Augmentation(
        crop_scale=(0.08, 1.0), flip_rate=0.5, policy=RAND_AUGMENT if kind == KINDS[1] else ""
    )
    return lambda: data.training_batches(epochs=1, augmentation=augmentation)


def keras_layers(folder: str, kind: str) -> Callable[[], Iterable[object]]:
    """The same with `image_dataset_from_directory` and Keras' layers."""
    import keras
    import tensorflow as tf

    images = keras.utils.image_dataset_from_directory(folder, batch_size=BATCH, image_size=(256, 256), verbose=False)
    layers = [keras.layers.RandomCrop(SIZE, SIZE), keras.layers.RandomFlip("horizontal")]
    if kind == KINDS[1]:
        layers.append(keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.9))

    def changed(pixels: object, labels: object) -> tuple[object, object]:
        for layer in layers:
            pixels = layer(pixels, training=True)
        return pixels, labels

    batches = images.map(changed, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: batches


def torchvision(folder: str, kind: str) -> Callable[[], Iterable[object]]:
    """The same with torchvision's transforms in PyTorch's loader."""
    import torch
    from torchvision import datasets
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(SIZE, interpolation=v2.InterpolationMode.BILINEAR), v2.RandomHorizontalFlip()]
    if kind == KINDS[1]:
        steps.append(v2.RandAugment(num_ops=2, magnitude=9))
    data = datasets.ImageFolder(folder, v2.Compose([*steps, v2.PILToTensor()]))
    return _torch_loader(torch, data)


def timm(folder: str, kind: str) -> Callable[[], Iterable[object]]:
    """The same with timm's transforms in PyTorch's loader."""
    import torch
    from timm.data import create_transform
    from torchvision import datasets

    transform = create_transform(
        SIZE, is_training=True, use_prefetcher=True, interpolation="bilinear", color_jitter=None,
        auto_augment=RAND_AUGMENT if kind == KINDS[1] else None,
    )  # fmt: skip
    return _torch_loader(torch, datasets.ImageFolder(folder, transform))


def _torch_loader(torch: object, data: object) -> Callable[[], Iterable[object]]:
    loader = torch.utils.data.DataLoader(
        data, batch_size=BATCH, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True
    )
    return lambda: loader


LOADERS = {"vit_keras": ours, "keras": keras_layers, "torchvision": torchvision, "timm": timm}


def serve(name: str, folder: str, kind: str) -> None:
    """For every line on stdin, reads an epoch and prints its images, seconds and the memory afterwards."""
    make_epoch = LOADERS[name](folder, kind)
    epoch = make_epoch()
    print("ready", flush=True)
    for _ in sys.stdin:
        started, images = time.perf_counter(), 0
        for pixels, _ in epoch:
            images += len(pixels)
        seconds = time.perf_counter() - started
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        print(json.dumps({"images": images, "seconds": seconds, "resident": resident}), flush=True)
        epoch = make_epoch()  # created per epoch here; `fit` does so once for all


class Contestant:
    """A loader in its own process."""

    def __init__(self, python: str, name: str, folder: Path, kind: str) -> None:
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            [python, __file__, "--serve", name, "--kind", kind, "--folder", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.complaints, text=True,
        )  # fmt: skip
        self.ready = self.process.stdout.readline().strip() == "ready"

    def epoch(self) -> dict[str, float]:
        """Returns the numbers of an epoch."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer.startswith("{"):
            raise RuntimeError(f"{' '.join(self.process.args)} answered {answer!r}: {self.end()}")
        return json.loads(answer)

    def end(self) -> str:
        """Ends the process and returns the last line of its stderr."""
        self.process.communicate()
        self.complaints.seek(0)
        complaint = self.complaints.read().strip().splitlines()
        return complaint[-1] if complaint else ""


def compare(kind: str, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Returns images per second of every installed loader, in turns, and the ratio to the best other loader."""
    import harness

    contestants, missing = {}, {}
    for name in options.loaders.split(","):
        python = options.peers if name in ("torchvision", "timm") else sys.executable
        contestant = Contestant(python, name, folder, kind)
        if contestant.ready:
            contestants[name] = contestant
            contestant.epoch()  # fills the caches of the operating system and of the loader
        else:
            missing[name] = contestant.end()
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, contestant in contestants.items():
            taken = contestant.epoch()
            rates[name].append(taken["images"] / taken["seconds"])
    memory = [contestants["vit_keras"].epoch()["resident"] for _ in range(options.epochs)]
    for contestant in contestants.values():
        contestant.end()
    ratios = {
        name: harness.spread((np.array(rates["vit_keras"]) / np.array(values)).tolist())
        for name, values in rates.items()
        if name != "vit_keras"
    }
    return {
        "images_a_second": {name: harness.spread(values) for name, values in rates.items()},
        "ratio_to": ratios,
        "ratio_to_best": min((ratio["median"] for ratio in ratios.values()), default=None),
        "memory_by_epoch_mib": [round(value / 2**20) for value in memory],
        "not_installed": missing,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--loaders", default=",".join(LOADERS), help="comma-separated")
    parser.add_argument("--folder")
    parser.add_argument("--kind", default=KINDS[0], help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.folder, options.kind)
    else:
        import harness
        import photos

        with tempfile.TemporaryDirectory() as made:
            folder = Path(options.folder) if options.folder else photos.make_folder(Path(made), count=options.images)
            harness.record("data_loading", {kind: compare(kind, folder, options) for kind in KINDS})
