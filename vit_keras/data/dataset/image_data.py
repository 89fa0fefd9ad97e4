"""`ImageData`: training, validation and test images with their class names, and the batches made of them."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vit_keras.data.augment.augmentation import Augmentation, resolve_augmentation
from vit_keras.data.class_names import order_classes
from vit_keras.data.dataset import pipeline
from vit_keras.data.dataset.mapped_images import MappedImages
from vit_keras.data.dataset.preview import render_images, render_labels
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.images.preprocess import Preprocessing, to_image
from vit_keras.data.split_names import SPLITS
from vit_keras.data.task_names import TASKS
from vit_keras.data.tasks import UNLABELED, check_labels, check_task, describe_count
from vit_keras.errors import DataError, InvalidArgumentError, LabelError
from vit_keras.reporting import notebook
from vit_keras.reporting.text import plural
from vit_keras.validation import list_words

if TYPE_CHECKING:
    import tensorflow as tf


MIN_STEPS = 6  # per epoch, where the batch size is chosen
_SMALLEST_BATCH = 8


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageData:
    """A data set: training, validation and test images with their class names. `vk.data.load` returns it.

    `train`, `validation` and `test` are `tf.data.Dataset`s of batches (pixels, labels) for `model.fit` and `model.evaluate` on every
    backend: pixels `(batch, height, width, channels)`, uint8, 0..255; labels by task: "single_label" `(batch,)`, int32;
    "multi_label" `(batch, classes)`, float32, 0 or 1; "regression" `(batch, targets)`, float32.

    Args:
        name: Name or path of the source.
        class_names: Class names in the order of the labels; of a regression, the names of its targets.
        splits: "train", "validation" and perhaps "test", each a `Split` of decoded images or an `EncodedSplit` of files.
        batch_size: Images per batch.
        seed: Random seed of the order of the training images.
        parts: Number of equal parts in which the training batches come, one after the other, to accumulate gradients.
        notes: One line per image that was left out, and other remarks about the source.
        decisions: One line per decision about an ambiguous source: its task, pixel range, split names, order of classes.
        shard: Which of how many equal parts of each training batch `training_batches` returns, from 0: (0, 1) is all of it. The
            processes of a launch share a batch so.
        task: What the labels mean: "single_label", "multi_label" or "regression"; or "unlabeled", for images without labels
            (`vk.data.load_unlabeled`), of which `class_names` is empty and every label 0.

    Raises:
        DataError: A split is missing or empty, images differ in shape, or an argument is not legal.
        LabelError: A label is not an index into the class names, or not one of the task.

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
    task: str = "single_label"
    shard: pipeline.Shard = (0, 1)

    def __post_init__(self) -> None:
        check_arguments(self.name, batch_size=self.batch_size, seed=self.seed, parts=self.parts)
        if self.task != UNLABELED and check_task(self.task) == "auto":
            raise InvalidArgumentError(f"{self.name}: task must be one of {', '.join(TASKS)}.")
        if self.batch_size % self.parts:
            raise DataError(f"{self.name}: batch_size={self.batch_size} is not a multiple of parts={self.parts}.")
        if self.batch_size // self.parts % self.shard[1]:
            raise DataError(
                f"{self.name}: {self.shard[1]} processes can't share batches of {self.batch_size // self.parts} images equally."
            )
        if not {"train", "validation"} <= set(self.splits) <= set(SPLITS):
            raise DataError(
                f"{self.name}: expected the splits train, validation and, if there is one, test; got {list_words(sorted(self.splits))}."
            )
        for name, split in self.splits.items():
            if not len(split):
                raise DataError(f"{self.name}: the {name} split has no images.")
            if split.image_shape != self.image_shape or split.is_packed != self.splits["train"].is_packed:
                raise DataError(
                    f"{self.name}: {name} images have the shape {split.image_shape}, training images {self.image_shape}."
                )
            if self.task == UNLABELED:
                continue
            check_labels(f"{self.name}, {name}", split.labels, self.task, self.class_names)
            if self.task != "single_label":
                continue
            if split.labels.min() < 0 or split.labels.max() >= len(self.class_names):
                raise LabelError(
                    f"{self.name}: {name} labels range from {split.labels.min()} to {split.labels.max()}, but with "
                    f"{plural(len(self.class_names), 'class', 'classes')} they must be from 0 to {len(self.class_names) - 1}."
                )

    def __repr__(self) -> str:
        return f"ImageData({self._describe()})"

    def _repr_html_(self) -> str:
        labels = render_labels(self.splits, self.class_names) if self.class_names else ""
        images = render_images(self.splits["train"], self.class_names, seed=self.seed)
        return notebook.title(self._describe()) + notebook.lines(self.decisions) + labels + images

    def _describe(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.sizes.items())
        outputs = ("target",) if self.task == "regression" else ("class", "classes")
        count = describe_count(self.task, 0) if self.task == UNLABELED else plural(len(self.class_names), *outputs)
        size = "x".join(map(str, self.image_shape))
        if self.splits["train"].is_packed:
            size = f"at most {self.image_shape[0]} patches"
        return f"{self.name}: {counts} images of {size}, {count}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (px) and channels of every image; the shape of packed ones."""
        return self.splits["train"].image_shape

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images per split."""
        return {name: len(split) for name, split in self.splits.items()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all class names, labels and pixels; for image files, of the files' bytes and the preprocessing."""
        task = [] if self.task == "single_label" else [self.task]  # fingerprints of earlier versions stay valid
        digest = hashlib.sha256("\n".join([*self.class_names, str(self.image_shape), *task]).encode())
        for name in SPLITS:
            digest.update(self.splits[name if name in self.splits else "validation"].digest)
        return digest.hexdigest()

    @property
    def train(self) -> "tf.data.Dataset":
        """Batches of the training images, in a new order each time they are read, without the incomplete last batch."""
        batches = pipeline.make_batches(self.splits["train"], self.batch_size, shuffle_seed=self.seed)
        return batches.take(self.steps_per_epoch // self.parts)

    @property
    def validation(self) -> "tf.data.Dataset":
        """Batches of all validation images in order."""
        return self.batches("validation")

    @property
    def evaluation_split(self) -> str:
        """The split that results are on: "test", or "validation" where there is no test split."""
        return "test" if "test" in self.splits else "validation"

    @property
    def test(self) -> "tf.data.Dataset":
        """Batches of all test images in order; raises `InvalidArgumentError` if there are none."""
        return self.batches("test")

    @property
    def steps_per_epoch(self) -> int:
        """Number of complete training batches per epoch, times `parts`; raises `DataError` if there is none."""
        count = len(self.splits["train"])
        if count < self.batch_size:
            raise DataError(
                f"{self.name}: {plural(count, 'training image')} cannot fill a batch of {self.batch_size}; reduce batch_size, or "
                "leave it out."
            )
        return count // self.batch_size * self.parts

    def fit_batch_size(self, largest: int) -> "ImageData":
        """Returns the data with at most `largest` images per batch, and fewer where an epoch would have very few steps."""
        return replace(self, batch_size=choose_batch_size(len(self.splits["train"]), largest=largest))

    def batches(self, split: str) -> "tf.data.Dataset":
        """Returns batches of all images of a split in order; the last batch may be smaller."""
        if split not in self.splits:
            raise InvalidArgumentError(f"There is no split {split!r}: expected one of {', '.join(self.splits)}.")
        return pipeline.make_batches(self.splits[split], self.batch_size)

    def full_batches(self, split: str, *, weighted: bool = True) -> "tf.data.Dataset":
        """Returns batches of all images of a split with weights, all of one size: the last one is filled up with images of weight 0.

        Several devices need batches of one size. Weighted means over these batches are the means over the images; without weights
        the incomplete last batch is left out. Of a `shard`, only its rows.
        """
        return pipeline.make_full_batches(
            self.splits[split], self.batch_size // self.parts, shard=self.shard, weighted=weighted
        )

    def training_batches(
        self,
        *,
        epochs: int,
        augmentation: Augmentation | str | None = None,
        first_epoch: int = 0,
        first_step: int = 0,
    ) -> "tf.data.Dataset":
        """Returns augmented training batches; their content depends only on seed, epoch and step.

        Each epoch has its own order and drops the images that do not fill its last batch. With MixUp or CutMix the targets have
        shape `(batch, classes)`; otherwise the labels have shape `(batch,)`.

        Args:
            epochs: Number of epochs.
            augmentation: An `Augmentation`, or the name of a strength: "none", "moved", "light", "medium", "strong", "3-augment".
            first_epoch: Epoch to start with; 0 is the first.
            first_step: Step of that epoch to start with.

        Raises:
            InvalidArgumentError: There is no such strength, or a batch is smaller than `augmentation.repeats`.
        """
        import tensorflow as tf

        steps = self.steps_per_epoch
        numbers = tf.data.Dataset.range(first_epoch * steps + first_step, (first_epoch + epochs) * steps)
        return self._training_batches(numbers, resolve_augmentation(augmentation))

    def epoch_batches(
        self, next_epoch: Callable[[], int], *, augmentation: Augmentation | str | None = None
    ) -> "tf.data.Dataset":
        """Returns the `training_batches` of the epoch (from 0) that `next_epoch` names whenever they are read from the start."""
        import tensorflow as tf

        steps = self.steps_per_epoch

        def steps_of_epoch(_: "tf.Tensor") -> "tf.data.Dataset":
            epoch = tf.numpy_function(lambda: np.int64(next_epoch()), [], tf.int64)
            epoch.set_shape(())
            return tf.data.Dataset.range(epoch * steps, (epoch + 1) * steps)

        numbers = tf.data.Dataset.range(1).flat_map(steps_of_epoch)
        counted = numbers.apply(tf.data.experimental.assert_cardinality(steps))
        return self._training_batches(counted, resolve_augmentation(augmentation))

    def _training_batches(self, steps: "tf.data.Dataset", augmentation: Augmentation) -> "tf.data.Dataset":
        return pipeline.make_training_batches(
            self.splits["train"],
            self._training_order(augmentation),
            augmentation,
            num_classes=len(self.class_names),
            steps=steps,
            shard=self.shard,
        )

    def training_images(self, step: int, *, augmentation: Augmentation | str | None = None) -> list[str]:
        """Returns the paths of the images that a training step sees, or their numbers; step 0 is the first of training."""
        import tensorflow as tf

        split = self.splits["train"]
        order = self._training_order(resolve_augmentation(augmentation))
        indices = order.indices(tf.constant(step, tf.int64)).numpy().tolist()
        if isinstance(split, EncodedSplit):
            return [split.files.name(index) for index in indices]
        return [f"training image {index}" for index in indices]

    def _training_order(self, augmentation: Augmentation) -> pipeline.TrainingOrder:
        batch_size = self.batch_size // self.parts
        if augmentation.repeats > batch_size:
            raise InvalidArgumentError(
                f"repeats={augmentation.repeats} copies of an image do not fit into batches of {batch_size}; increase batch_size."
            )
        return pipeline.TrainingOrder(
            count=len(self.splits["train"]),
            batch_size=batch_size,
            steps_per_epoch=self.steps_per_epoch,
            seed=self.seed,
            repeats=augmentation.repeats,
        )

    def check_readable(self) -> None:
        """Raises `TooManyBadFilesError` if too many files have become unreadable since the data were loaded."""
        for split in self.splits.values():
            if isinstance(split, EncodedSplit):
                split.check_readable()

    def reorder_classes(self, class_names: tuple[str, ...]) -> "ImageData":
        """Returns the same images with their classes, and so a model's logits, in another order."""
        order = order_classes(self.class_names, class_names, self.name)
        labels = np.asarray([order.index(name) for name in self.class_names], dtype="int32")
        columns = np.argsort(labels)
        splits = {
            name: replace(split, labels=labels[split.labels] if split.labels.ndim == 1 else split.labels[:, columns])
            for name, split in self.splits.items()
        }
        return replace(self, class_names=order, splits=splits)

    def limit(self, count: int) -> "ImageData":
        """Returns at most `count` images of each split, drawn by the seed."""
        check_arguments(self.name, limit=count)
        return replace(
            self,
            splits={
                name: split.subset(np.random.default_rng((self.seed, number)).permutation(len(split))[:count])
                for number, (name, split) in enumerate(self.splits.items())
            },
        )

    def resize(self, preprocessing: Preprocessing) -> "ImageData":
        """Returns the data with every image decoded and resized now; unchanged if the images have this size and these channels."""
        shape, is_packed = preprocessing.image_shape, self.splits["train"].is_packed
        if self.image_shape == shape and is_packed == preprocessing.packs:
            return self
        if is_packed:
            raise DataError(
                f"{self.name}: the images are packed for another model ({self.image_shape}, not {shape}). Load the data again, with the "
                "preprocessing of this model."
            )
        if {preprocessing.channels, self.image_shape[2]} - {1, 3}:
            raise DataError(
                f"{self.name}: images with {self.image_shape[2]} channels can't be converted; expected 1 or 3."
            )
        mode = "L" if preprocessing.channels == 1 else "RGB"

        def resize_split(split: Split | EncodedSplit) -> Split:
            mapped = split.images if isinstance(split, Split) else None
            if isinstance(mapped, MappedImages):
                return Split(mapped.resize(preprocessing), split.labels, preprocessing.packs)
            images = np.empty((len(split), *shape), "uint8")
            for index in range(len(split)):
                images[index] = preprocessing.to_array(to_image(split.image(index)).convert(mode))
            return Split(images, split.labels, preprocessing.packs)

        return replace(self, splits={name: resize_split(split) for name, split in self.splits.items()})


def choose_batch_size(count: int, *, largest: int) -> int:
    """Returns the largest power of two from 8 to `largest` with which `count` images make `MIN_STEPS` batches; else 8, or `count`.

    Example:
        >>> [choose_batch_size(count, largest=128) for count in (5, 48, 128, 416, 5552)]
        [5, 8, 16, 64, 128]
    """
    size = largest
    while size > _SMALLEST_BATCH and count < MIN_STEPS * size:
        size //= 2
    return min(max(size, _SMALLEST_BATCH), largest, count)


def check_arguments(name: str, *, limit: int | None = None, channels: int | None = None, **counts: int) -> None:
    """Raises one `DataError` that lists every argument that is not legal."""
    if limit is not None:
        counts["limit"] = limit
    wrong = [
        f"{argument}={value!r} is not {'an integer of at least 0' if argument == 'seed' else 'a positive integer'}"
        for argument, value in counts.items()
        if type(value) is not int or value < (0 if argument == "seed" else 1)
    ]
    if channels is not None and (type(channels) is not int or channels not in (1, 3)):
        wrong.append(f"channels={channels!r} is neither 1 nor 3")
    if wrong:
        raise DataError(f"{name}: {'; '.join(wrong)}.")
