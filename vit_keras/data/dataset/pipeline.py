"""Batches as `tf.data`, made on the host: Pillow changes single images, TensorFlow changes batches."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.data.augment.batch_rows import BatchRows
from vit_keras.data.augment.mixing import mix
from vit_keras.data.augment.training_image import Key, from_file, from_pixels
from vit_keras.data.dataset.mapped_images import find_map
from vit_keras.data.dataset.pool import decoder_pool
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.tasks import to_targets
from vit_keras.errors import InvalidArgumentError
from vit_keras.packing import change_image
from vit_keras.runtime.tensorflow_host import as_operations, stay_on_host

if TYPE_CHECKING:
    import tensorflow as tf

_WORTH_PROCESSES = 256  # training images; fewer are read before the processes have started
Shard = tuple[int, int]
"""Which of how many equal parts of each batch a process reads, counted from 0."""
MakeImages = Callable[[list[int], list[Key]], np.ndarray]
"""Makes the images of these indices with these random draws: `(count, height, width, channels)`, uint8."""


def make_batches(split: Split | EncodedSplit, batch_size: int, *, shuffle_seed: int | None = None) -> "tf.data.Dataset":
    """Returns batches of images and labels, by default in order and complete.

    With a `shuffle_seed` each reading has a new order, determined by the seed, and drops the incomplete last batch.
    """
    import tensorflow as tf

    stay_on_host()
    _accept_shuffle_by_default()
    read, shuffle = _reader(split.prepared), shuffle_seed is not None
    indices = tf.data.Dataset.range(len(split))
    if shuffle:
        indices = indices.shuffle(len(split), seed=shuffle_seed, reshuffle_each_iteration=True)
    batches = _map(indices.batch(batch_size, drop_remainder=shuffle), lambda chosen: read(chosen, 0))
    return batches.prefetch(tf.data.AUTOTUNE)


def make_full_batches(
    split: Split | EncodedSplit, batch_size: int, *, shard: Shard = (0, 1), weighted: bool = True
) -> "tf.data.Dataset":
    """Returns batches of images, labels and weights in order, all of one size, as several devices need them.

    The last batch is filled up with images of weight 0. The others share what is missing, so that the mean over all images of a batch,
    as Keras computes a loss, is the mean over those that exist. Without weights, the last batch is left out unless it is full.

    Args:
        split: The images.
        batch_size: Images in the batches of all processes together.
        shard: Which rows of each batch to return.
        weighted: Whether to return weights.
    """
    import tensorflow as tf

    stay_on_host()
    count, size = len(split), batch_size // shard[1]
    num_batches = -(-count // batch_size) if weighted else count // batch_size
    read, first = _reader(split.prepared), shard[0] * size
    weight = num_batches * batch_size / count

    def load(number: "tf.Tensor") -> tuple["tf.Tensor", ...]:
        places = number * batch_size + first + tf.range(size, dtype=tf.int64)
        images, labels = read(tf.minimum(places, count - 1), 0)
        return (images, labels, tf.where(places < count, np.float32(weight), np.float32(0)))[: 3 if weighted else 2]

    return _map(tf.data.Dataset.range(num_batches), load).prefetch(tf.data.AUTOTUNE)


def _map(dataset: "tf.data.Dataset", function: Callable[..., Any]) -> "tf.data.Dataset":
    """Returns what a function makes of each element, in order, several at once."""
    import tensorflow as tf

    return dataset.map(as_operations(function), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """Which images each training step sees: a pure function of seed and step."""

    count: int  # training images
    batch_size: int
    steps_per_epoch: int
    seed: int
    repeats: int = 1  # consecutive places that each image takes

    def indices(self, step: "tf.Tensor", rows: BatchRows | None = None) -> "tf.Tensor":
        """Returns the indices of a step's images, `(batch_size,)`, int64, or of some of its rows; step 0 is the first of training."""
        import tensorflow as tf

        row = tf.range(self.batch_size, dtype=tf.int64) if rows is None else tf.constant(rows.places, tf.int64)
        places = (step % self.steps_per_epoch) * self.batch_size + row
        order = tf.stack([tf.constant(self.seed, tf.int64), step // self.steps_per_epoch])
        last = tf.constant(self.count - 1, tf.int64)
        return tf.random.experimental.index_shuffle(places // self.repeats, order, last)


def make_training_batches(
    split: Split | EncodedSplit,
    order: TrainingOrder,
    augmentation: Augmentation,
    *,
    num_classes: int,
    steps: "tf.data.Dataset",
    shard: Shard = (0, 1),
) -> "tf.data.Dataset":
    """Returns augmented batches of these steps, int64 from 0; their bytes are a pure function of seed and step.

    With a `shard`, only these rows of each batch: joined in the order of the shards, they are the batches of (0, 1).
    """
    import tensorflow as tf

    stay_on_host()
    _accept_shuffle_by_default()
    if augmentation.crop_scale is None:
        split = split.prepared  # decoding gives the same pixels every time
    _check_mixing(split, augmentation)
    one_by_one = augmentation.per_image or (split.is_packed and replace(augmentation, repeats=1) != Augmentation())
    make = _choose_maker(split, augmentation) if one_by_one else None
    size = order.batch_size // shard[1]
    rows = BatchRows(
        batch_size=order.batch_size, start=shard[0] * size, stop=(shard[0] + 1) * size, mixes=augmentation.mixes
    )
    read, is_packed = _reader(split, make, seed=order.seed, rows=rows), split.is_packed

    def read_batch(step: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
        return (step, *read(order.indices(step, rows), step))

    def augment_batch(step: "tf.Tensor", images: "tf.Tensor", labels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        if is_packed:  # augmented one by one
            return images, labels
        return _augment_batch(
            images, labels, augmentation, num_classes=num_classes, seed=order.seed, step=step, rows=rows
        )

    return _map(_map(steps, read_batch), augment_batch).prefetch(tf.data.AUTOTUNE)


def _accept_shuffle_by_default() -> None:
    """Silences one warning of Keras: `fit` has `shuffle=True` by default, and warns that these batches are not shuffled again."""
    warnings.filterwarnings("ignore", "`shuffle=True` was passed, but will be ignored", UserWarning)


def preview_batch(
    split: Split | EncodedSplit,
    indices: list[int],
    augmentation: Augmentation,
    *,
    num_classes: int,
    seed: int,
    step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, pixels 0..255, as a training step would see them, and targets `(count, num_classes)`: fractions, or numbers."""
    import tensorflow as tf

    stay_on_host()
    _check_mixing(split, augmentation)
    if augmentation.per_image or split.is_packed:
        first = step * len(indices)
        images = [
            make_training_image(split, index, augmentation, (seed, first + place))
            for place, index in enumerate(indices)
        ]
    else:
        images = [split.image(index) for index in indices]
    pixels, targets = tf.constant(np.stack(images)), tf.constant(to_targets(split.labels[indices]))
    if not split.is_packed:
        pixels, targets = _augment_batch(
            pixels, targets, augmentation, num_classes=num_classes, seed=seed, step=tf.constant(step, tf.int64)
        )
    is_final = augmentation.mixes or split.labels.ndim == 2
    return pixels.numpy(), targets.numpy() if is_final else np.eye(num_classes)[split.labels[indices]]


def _augment_batch(
    images: "tf.Tensor",
    labels: "tf.Tensor",
    augmentation: Augmentation,
    *,
    num_classes: int,
    seed: int,
    step: "tf.Tensor",
    rows: BatchRows | None = None,
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Applies the batch stages of an augmentation; without mixing, the labels stay as they are."""
    import tensorflow as tf

    seeds = tf.stack([tf.constant(seed, tf.int64), step])
    on_batch = replace(augmentation, flip_rate=0.0) if augmentation.per_image else augmentation  # flipped already
    images = on_batch.apply(images, seed=seeds, rows=rows)
    if not augmentation.mixes:
        return images, labels
    return mix(
        images,
        labels,
        num_classes=num_classes,
        seed=seeds,
        mixup_alpha=augmentation.mixup_alpha,
        cutmix_alpha=augmentation.cutmix_alpha,
        mix_rate=augmentation.mix_rate,
        switch_rate=augmentation.switch_rate,
        rows=rows,
    )


def make_training_image(split: Split | EncodedSplit, index: int, augmentation: Augmentation, key: Key) -> np.ndarray:
    """Returns one image after the per-image stages of an augmentation, `(height, width, channels)`, uint8.

    A packed image, after all stages: its batch has images of other sizes.
    """
    if isinstance(split, EncodedSplit):
        image = split.decode(index, lambda picture: from_file(picture, split.preprocessing, augmentation, key))
    elif split.is_packed:
        image = change_image(split.image(index), lambda pixels: from_pixels(pixels, augmentation, key))
    else:
        image = from_pixels(split.image(index), augmentation, key)
    return _augment_packed(image, augmentation, key) if split.is_packed else image


def _augment_packed(packed: np.ndarray, augmentation: Augmentation, key: Key) -> np.ndarray:
    """Applies to one packed image what `_augment_batch` applies to a batch; the flip was applied already."""
    import tensorflow as tf

    def change(pixels: np.ndarray) -> np.ndarray:
        on_one = replace(augmentation, flip_rate=0.0)
        changed = on_one.apply(tf.constant(pixels[None]), seed=tf.constant(key, tf.int64))[0]
        rounded: np.ndarray = np.asarray(changed).round().clip(0, 255).astype("uint8")
        return rounded

    return change_image(packed, change)


def _check_mixing(split: Split | EncodedSplit, augmentation: Augmentation) -> None:
    if split.is_packed and augmentation.mixes:
        raise InvalidArgumentError(
            "MixUp and CutMix mix images of one size, and the images of a model with max_num_patches have sizes of their own: choose an "
            "augmentation without them, such as 'light', or set mixup_alpha=0 and cutmix_alpha=0."
        )


def _reader(
    split: Split | EncodedSplit, make: MakeImages | None = None, *, seed: int = 0, rows: BatchRows | None = None
) -> Callable[["tf.Tensor", "tf.Tensor | int"], tuple["tf.Tensor", "tf.Tensor"]]:
    """Returns a function of indices and a step that returns images and labels; without `make`, the images unchanged."""
    import tensorflow as tf

    labels = tf.constant(to_targets(split.labels))
    if (
        make is None
        and isinstance(split, Split)
        and isinstance(split.images, np.ndarray)
        and not find_map(split.images)
    ):
        images = tf.constant(split.images)
        return lambda indices, step: (tf.gather(images, indices), tf.gather(labels, indices))

    def load(indices: np.ndarray, step: np.ndarray) -> np.ndarray:
        numbers = indices.tolist()
        if make is None or rows is None:
            return np.stack([split.image(number) for number in numbers])
        first = int(step) * rows.batch_size
        return make(numbers, [(seed, first + place) for place in rows.places.tolist()])

    def read(indices: "tf.Tensor", step: "tf.Tensor | int") -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels = tf.numpy_function(load, [indices, step], tf.uint8, stateful=False)
        pixels.set_shape((indices.shape[0], *split.image_shape))
        return pixels, tf.gather(labels, indices)

    return read


def _choose_maker(split: Split | EncodedSplit, augmentation: Augmentation) -> MakeImages:
    """Returns what makes training images: the process pool for many files, else this process."""

    def make_here(indices: list[int], keys: list[Key]) -> np.ndarray:
        pairs = zip(indices, keys, strict=True)
        return np.stack([make_training_image(split, index, augmentation, key) for index, key in pairs])

    if not isinstance(split, EncodedSplit) or len(split) < _WORTH_PROCESSES or split.files.on_disk(0) is None:
        return make_here
    rules = {
        "preprocessing": json.dumps(split.preprocessing.to_dict()),
        "augmentation": json.dumps(augmentation.to_dict()),
    }

    def make_in_pool(indices: list[int], keys: list[Key]) -> np.ndarray:
        files = [(*(split.files.on_disk(index) or ()), *key) for index, key in zip(indices, keys, strict=True)]
        images, failed = decoder_pool().ask({**rules, "files": files}, (len(indices), *split.image_shape))
        if split.is_packed:
            images = np.stack(
                [_augment_packed(image, augmentation, key) for image, key in zip(images, keys, strict=True)]
            )
        for place in map(int, failed):
            images[place] = make_training_image(split, indices[place], augmentation, keys[place])
        return images

    return make_in_pool
