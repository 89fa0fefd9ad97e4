"""A data set, and the batches made of it."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vit_keras.data.augment.augmentation import Augmentation, augmentation_of
from vit_keras.data.dataset import pipeline
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.sources.class_names import ordered
from vit_keras.errors import DataError, InvalidArgumentError, LabelError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A data set: training, validation and test images, and what their labels mean.

    `train`, `validation` and `test` are `tf.data.Dataset`s of (pixels, labels) in batches, which `model.fit` and
    `model.evaluate` take on every backend.

    Args:
        name: Where it is from.
        class_names: What each label means.
        splits: "train", "validation" and "test", each in memory or as files.
        batch_size: Images a batch.
        seed: Decides the order of the training images.
        parts: Equal parts that `training_batches` gives a batch in, one after the other, where gradients are accumulated.
        notes: What a reader of the images' origin should know, such as files left out.
        decisions: How the source was read where that is not plain: the range of its pixels, the names of its splits.

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
    splits: dict[str, Split | EncodedSplit]
    batch_size: int = 64
    seed: int = 0
    parts: int = 1
    notes: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise DataError(f"batch_size={self.batch_size!r} is not a positive whole number.")
        if type(self.parts) is not int or self.parts < 1 or self.batch_size % self.parts:
            raise DataError(f"parts={self.parts!r} does not divide batches of {self.batch_size}.")
        if type(self.seed) is not int or self.seed < 0:
            raise DataError(f"seed={self.seed!r} is not a whole number from 0 up.")
        if set(self.splits) != {"train", "validation", "test"}:
            raise DataError(f"{self.name} needs the splits train, validation and test; it has {sorted(self.splits)}.")
        for name, split in self.splits.items():
            if not len(split):
                raise DataError(f"The {name} split of {self.name} has no images.")
            if split.image_shape != self.image_shape:
                raise DataError(
                    f"{self.name}: {name} images are {split.image_shape}, training images {self.image_shape}."
                )
            if split.labels.min() < 0 or split.labels.max() >= len(self.class_names):
                raise LabelError(
                    f"{self.name}: {name} labels run from {split.labels.min()} to {split.labels.max()}, but the "
                    f"{len(self.class_names)} classes are 0 to {len(self.class_names) - 1}."
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (px) and channels."""
        return self.splits["train"].image_shape

    @property
    def sizes(self) -> dict[str, int]:
        """Images of each split."""
        return {name: len(split) for name, split in self.splits.items()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every class name, label and pixel; of image files, of their bytes and how they are resized."""
        digest = hashlib.sha256("\n".join([*self.class_names, str(self.image_shape)]).encode())
        for name in ("train", "validation", "test"):
            digest.update(self.splits[name].digest)
        return digest.hexdigest()

    @property
    def train(self) -> "tf.data.Dataset":
        """The training images in batches, in another order each time they are read; the incomplete last one is left out."""
        batches = pipeline.shuffled(self.splits["train"], self.batch_size, seed=self.seed)
        return batches.take(self.steps_per_epoch // self.parts)

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
        """Training batches an epoch, or parts of them."""
        steps = len(self.splits["train"]) // self.batch_size * self.parts
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
        if split not in self.splits:
            raise InvalidArgumentError(f"There is no split {split!r}; there are {', '.join(self.splits)}.")
        return pipeline.in_order(self.splits[split], self.batch_size)

    def training_batches(
        self,
        *,
        epochs: int,
        augmentation: Augmentation | str | None = None,
        first_epoch: int = 0,
        first_step: int = 0,
    ) -> "tf.data.Dataset":
        """Returns training batches; which images and how augmented depends on seed, epoch and step alone.

        The images that do not fill a batch at the end of an epoch wait for another, whose order is new. Mixed images have targets
        of shape `(batch, classes)`, others labels of shape `(batch,)`.

        Args:
            epochs: Passes over the training images.
            augmentation: What is done to each image, or the name of a strength: "none", "moved", "light", "medium", "strong", "3-augment".
            first_epoch: Epoch to start with, 0 the first.
            first_step: Step of that epoch to start with.

        Raises:
            InvalidArgumentError: There is no such strength, or the images can't be augmented so.
        """
        import tensorflow as tf

        steps = self.steps_per_epoch
        numbers = tf.data.Dataset.range(first_epoch * steps + first_step, (first_epoch + epochs) * steps)
        return self._training_batches(numbers, augmentation_of(augmentation))

    def epoch_batches(
        self, next_epoch: Callable[[], int], *, augmentation: Augmentation | str | None = None
    ) -> "tf.data.Dataset":
        """Returns the batches of an epoch, of another each time they are read: what `training_batches` gives of that epoch.

        Args:
            next_epoch: Called each time they are read, returns which epoch, 0 the first.
            augmentation: As for `training_batches`.

        Raises:
            InvalidArgumentError: There is no such strength, or the images can't be augmented so.
        """
        import tensorflow as tf

        steps = self.steps_per_epoch

        def steps_of_epoch(_: "tf.Tensor") -> "tf.data.Dataset":
            epoch = tf.numpy_function(lambda: np.int64(next_epoch()), [], tf.int64)
            epoch.set_shape(())
            return tf.data.Dataset.range(epoch * steps, (epoch + 1) * steps)

        numbers = tf.data.Dataset.range(1).flat_map(steps_of_epoch)
        counted = numbers.apply(tf.data.experimental.assert_cardinality(steps))
        return self._training_batches(counted, augmentation_of(augmentation))

    def _training_batches(self, steps: "tf.data.Dataset", augmentation: Augmentation) -> "tf.data.Dataset":
        return pipeline.training(
            self.splits["train"],
            self._training_order(augmentation),
            augmentation,
            num_classes=len(self.class_names),
            steps=steps,
        )

    def training_images(self, step: int, *, augmentation: Augmentation | str | None = None) -> list[str]:
        """Returns what a training step's images are called: their files, or their numbers among the training images.

        Args:
            step: Counted from 0 at the start of training.
            augmentation: As `training_batches` got it.
        """
        import tensorflow as tf

        split = self.splits["train"]
        order = self._training_order(augmentation_of(augmentation))
        indices = order.indices(tf.constant(step, tf.int64)).numpy().tolist()
        if isinstance(split, EncodedSplit):
            return [split.files.name(index) for index in indices]
        return [f"training image {index}" for index in indices]

    def _training_order(self, augmentation: Augmentation) -> pipeline.TrainingOrder:
        together = self.batch_size // self.parts
        if augmentation.repeats > together:
            raise InvalidArgumentError(
                f"{augmentation.repeats} copies of an image don't fit into batches of {together}."
            )
        return pipeline.TrainingOrder(
            count=len(self.splits["train"]),
            batch_size=together,
            steps_per_epoch=self.steps_per_epoch,
            seed=self.seed,
            repeats=augmentation.repeats,
        )

    def check_readable(self) -> None:
        """Raises `TooManyBadFilesError` where too many files could not be read any more since the data were loaded."""
        for split in self.splits.values():
            if isinstance(split, EncodedSplit):
                split.check_readable()

    def in_class_order(self, class_names: tuple[str, ...]) -> "ImageData":
        """Returns the same images with their classes, and so a model's logits, in another order.

        Args:
            class_names: The same names.

        Raises:
            ClassLayoutError: They are other names.
        """
        order = ordered(self.class_names, class_names, self.name)
        labels = np.asarray([order.index(name) for name in self.class_names], dtype="int32")
        splits = {name: replace(split, labels=labels[split.labels]) for name, split in self.splits.items()}
        return replace(self, class_names=order, splits=splits)

    def limited(self, count: int) -> "ImageData":
        """Returns the first `count` images of a seeded shuffle of each split; a smaller split stays whole.

        Raises:
            DataError: `count` is not positive.
        """
        if type(count) is not int or count < 1:
            raise DataError(f"A limit of {count!r} images is not a positive whole number.")
        return replace(
            self,
            splits={
                name: split.subset(np.random.default_rng((self.seed, number)).permutation(len(split))[:count])
                for number, (name, split) in enumerate(self.splits.items())
            },
        )
