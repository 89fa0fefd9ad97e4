"""Images in memory, and the batches made of them."""

import functools
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vit_keras.data.augmentation import Augmentation
from vit_keras.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, eq=False)
class Split:
    """Images with a label each.

    Args:
        images: `(count, height, width, channels)`, uint8, pixels 0..255.
        labels: `(count,)`, int32, each an index into the class names.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.images, np.ndarray) or not isinstance(self.labels, np.ndarray):
            raise DataError(
                f"Images must be a uint8 numpy array and labels a numpy array of whole numbers, not {type(self.images).__name__} "
                f"and {type(self.labels).__name__}."
            )
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                "Images must be uint8 pixels 0..255 of shape (count, height, width, channels); these are "
                f"{self.images.dtype} of shape {self.images.shape}."
            )
        if self.labels.shape != self.images.shape[:1] or not np.issubdtype(self.labels.dtype, np.integer):
            raise DataError(
                f"{len(self.images)} images need as many whole-number labels; these are {self.labels.dtype} of shape "
                f"{self.labels.shape}."
            )

    def __len__(self) -> int:
        """Returns how many images there are."""
        return len(self.images)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A data set: training, validation and test images, and what their labels mean.

    `train`, `validation` and `test` are `tf.data.Dataset`s of (pixels, labels) in batches, which `model.fit` and
    `model.evaluate` take on every backend.

    Args:
        name: Where it is from.
        class_names: What each label means.
        splits: "train", "validation" and "test".
        batch_size: Images a batch.
        seed: Decides the order of the training images.
        notes: What a reader of the images' origin should know, such as files left out.

    Raises:
        DataError: A split is missing or empty, sizes differ, or a label is out of range.

    Example:
        >>> import vit_keras as vk
        >>> data = vk.data.load("emoji")
        >>> data.class_names[:2], data.image_shape
        (('Activities', 'Animals & Nature'), (32, 32, 3))
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    batch_size: int = 64
    seed: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise DataError(f"batch_size={self.batch_size!r} is not a positive whole number.")
        if type(self.seed) is not int or self.seed < 0:
            raise DataError(f"seed={self.seed!r} is not a whole number from 0 up.")
        if set(self.splits) != {"train", "validation", "test"}:
            raise DataError(f"{self.name} needs the splits train, validation and test; it has {sorted(self.splits)}.")
        for name, split in self.splits.items():
            if not len(split):
                raise DataError(f"The {name} split of {self.name} has no images.")
            if split.images.shape[1:] != self.image_shape:
                raise DataError(
                    f"{self.name}: {name} images are {split.images.shape[1:]}, training images {self.image_shape}."
                )
            if split.labels.min() < 0 or split.labels.max() >= len(self.class_names):
                raise DataError(
                    f"{self.name}: {name} labels run from {split.labels.min()} to {split.labels.max()}, but the "
                    f"{len(self.class_names)} classes are 0 to {len(self.class_names) - 1}."
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (px) and channels."""
        return self.splits["train"].images.shape[1:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every pixel, label and class name."""
        digest = hashlib.sha256("\n".join([*self.class_names, str(self.image_shape)]).encode())
        for name in ("train", "validation", "test"):
            digest.update(self.splits[name].images.tobytes())
            digest.update(self.splits[name].labels.astype("int32").tobytes())
        return digest.hexdigest()

    @property
    def train(self) -> "tf.data.Dataset":
        """The training images in batches, in another order each time they are read; the incomplete last one is left out."""
        import tensorflow as tf

        split = self.splits["train"]
        images, labels = tf.constant(split.images), tf.constant(split.labels.astype("int32"))
        order = tf.data.Dataset.range(len(split)).shuffle(len(split), seed=self.seed, reshuffle_each_iteration=True)
        chosen = order.batch(self.batch_size, drop_remainder=True).take(self.steps_per_epoch)
        return chosen.map(lambda index: (tf.gather(images, index), tf.gather(labels, index))).prefetch(tf.data.AUTOTUNE)

    @property
    def validation(self) -> "tf.data.Dataset":
        """The validation images in order, all of them."""
        return self.batches("validation")

    @property
    def test(self) -> "tf.data.Dataset":
        """The test images in order, all of them."""
        return self.batches("test")

    @property
    def steps_per_epoch(self) -> int:
        """Training batches an epoch."""
        steps = len(self.splits["train"]) // self.batch_size
        if not steps:
            raise DataError(
                f"{len(self.splits['train'])} training images of {self.name} make no batch of {self.batch_size}."
            )
        return steps

    def batches(self, split: str) -> "tf.data.Dataset":
        """Returns the images of a split in order, batch by batch, the last one smaller.

        Args:
            split: "train", "validation" or "test".
        """
        import tensorflow as tf

        chosen = self.splits[split]
        pairs = tf.data.Dataset.from_tensor_slices((chosen.images, chosen.labels.astype("int32")))
        return pairs.batch(self.batch_size).prefetch(tf.data.AUTOTUNE)

    def training_batches(
        self, *, epochs: int, augmentation: Augmentation | None = None, first_epoch: int = 0
    ) -> "tf.data.Dataset":
        """Returns training batches; which images and how augmented depends on seed, epoch and step alone.

        Args:
            epochs: Passes over the training images.
            augmentation: What is done to each image; nothing by default.
            first_epoch: Epoch to start with, 0 the first.
        """
        import tensorflow as tf

        split, steps, batch_size, seed = self.splits["train"], self.steps_per_epoch, self.batch_size, self.seed
        images, labels = tf.constant(split.images), tf.constant(split.labels.astype("int32"))
        last = tf.constant(len(split) - 1, tf.int64)

        def batch(step: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
            positions = (step % steps) * batch_size + tf.range(batch_size, dtype=tf.int64)
            order = tf.stack([tf.constant(seed, tf.int64), step // steps])
            chosen = tf.random.experimental.index_shuffle(positions, order, last)
            pixels = tf.gather(images, chosen)
            if augmentation is not None:
                pixels = augmentation.apply(pixels, seed=tf.stack([tf.constant(seed, tf.int64), step]))
            return pixels, tf.gather(labels, chosen)

        numbers = tf.data.Dataset.range(first_epoch * steps, (first_epoch + epochs) * steps)
        made = numbers.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return made.prefetch(tf.data.AUTOTUNE)

    def limited(self, count: int) -> "ImageData":
        """Returns the first `count` images of a seeded shuffle of each split; a smaller split stays whole.

        Raises:
            DataError: `count` is not positive.
        """
        if type(count) is not int or count < 1:
            raise DataError(f"A limit of {count!r} images is not a positive whole number.")
        kept = {}
        for number, (name, split) in enumerate(self.splits.items()):
            chosen = np.random.default_rng((self.seed, number)).permutation(len(split))[:count]
            kept[name] = Split(split.images[chosen], split.labels[chosen])
        return replace(self, splits=kept)
