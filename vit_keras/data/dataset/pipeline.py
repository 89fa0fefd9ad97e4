"""Batches as `tf.data`, made on the host: Pillow does images, TensorFlow does batches."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.data.augment.mixing import mix
from vit_keras.data.augment.training_image import Key, from_file, from_pixels
from vit_keras.data.dataset.pool import decoder_pool
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.runtime.tensorflow_host import stay_on_host

if TYPE_CHECKING:
    import tensorflow as tf


_WORTH_PROCESSES = 256  # training images; fewer are read before the processes have started
Reader = Callable[..., tuple["tf.Tensor", "tf.Tensor"]]
"""Takes numbers of images and perhaps a step; returns pixels and labels."""


def in_order(split: Split | EncodedSplit, batch_size: int) -> "tf.data.Dataset":
    """Returns the images and labels of a split in order, batch by batch, the last one smaller.

    Args:
        split: Images with labels.
        batch_size: Images a batch.
    """
    import tensorflow as tf

    stay_on_host()
    read = _reader(split.prepared)
    numbers = tf.data.Dataset.range(len(split)).batch(batch_size)
    return numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def shuffled(split: Split | EncodedSplit, batch_size: int, *, seed: int) -> "tf.data.Dataset":
    """Returns the images and labels of a split in another order each time they are read; the incomplete last batch is left out.

    Args:
        split: Images with labels.
        batch_size: Images a batch.
        seed: Decides the orders.
    """
    import tensorflow as tf

    stay_on_host()
    read = _reader(split.prepared)
    order = tf.data.Dataset.range(len(split)).shuffle(len(split), seed=seed, reshuffle_each_iteration=True)
    chosen = order.batch(batch_size, drop_remainder=True)
    return chosen.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """Which images each training step sees: a function of seed and step alone.

    Args:
        count: Training images.
        batch_size: Images a step.
        steps_per_epoch: Steps a pass.
        seed: Decides the order of every pass.
        repeats: Places in a row that one image takes.
    """

    count: int
    batch_size: int
    steps_per_epoch: int
    seed: int
    repeats: int = 1

    def indices(self, step: "tf.Tensor") -> "tf.Tensor":
        """Returns the numbers of a step's images, `(batch_size,)`, int64.

        Args:
            step: Counted from the start of training.
        """
        import tensorflow as tf

        places = (step % self.steps_per_epoch) * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        order = tf.stack([tf.constant(self.seed, tf.int64), step // self.steps_per_epoch])
        last = tf.constant(self.count - 1, tf.int64)
        return tf.random.experimental.index_shuffle(places // self.repeats, order, last)


def training(
    split: Split | EncodedSplit,
    order: TrainingOrder,
    augmentation: Augmentation,
    *,
    num_classes: int,
    steps: "tf.data.Dataset",
) -> "tf.data.Dataset":
    """Returns training batches; their bytes are a function of seed and step, whoever computes them and from where on.

    Args:
        split: The training images.
        order: Which of them a step sees.
        augmentation: What is done to each.
        num_classes: Width of mixed targets.
        steps: Steps, counted from the start of training, int64.
    """
    import tensorflow as tf

    stay_on_host()
    if augmentation.crop_scale is None:
        split = split.prepared  # the same pixels every time
    read = _training_reader(split, augmentation, order.seed) if augmentation.per_image else _reader(split)

    def made(step: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
        return (step, *read(order.indices(step), step))

    def augmented(step: "tf.Tensor", images: "tf.Tensor", labels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        return _as_batch(images, labels, augmentation, num_classes=num_classes, seed=order.seed, step=step)

    batches = steps.map(made, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def seen(
    split: Split | EncodedSplit,
    indices: list[int],
    augmentation: Augmentation,
    *,
    num_classes: int,
    seed: int,
    step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a training step makes of these images, to look at.

    Args:
        split: The training images.
        indices: Which of them.
        augmentation: What is done to each.
        num_classes: Width of the targets.
        seed: Decides everything drawn, with the step.
        step: Counted from the start of training.

    Returns:
        Images `(count, height, width, channels)`, pixels 0..255, and targets `(count, num_classes)`, fractions.
    """
    import tensorflow as tf

    stay_on_host()
    if augmentation.per_image:
        keys = [(seed, step * len(indices) + place) for place in range(len(indices))]
        images = [training_image(split, index, augmentation, key) for index, key in zip(indices, keys, strict=True)]
    else:
        images = [split.image(index) for index in indices]
    labels = tf.constant(split.labels[indices].astype("int32"))
    pixels, targets = _as_batch(
        tf.constant(np.stack(images)),
        labels,
        augmentation,
        num_classes=num_classes,
        seed=seed,
        step=tf.constant(step, tf.int64),
    )
    return pixels.numpy(), targets.numpy() if augmentation.mixes else np.eye(num_classes)[split.labels[indices]]


def _as_batch(
    images: "tf.Tensor",
    labels: "tf.Tensor",
    augmentation: Augmentation,
    *,
    num_classes: int,
    seed: int,
    step: "tf.Tensor",
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Returns images and labels after the stages of an augmentation that take a batch."""
    import tensorflow as tf

    seeds = tf.stack([tf.constant(seed, tf.int64), step])
    on_batch = replace(augmentation, flip_rate=0.0) if augmentation.per_image else augmentation  # mirrored already
    images = on_batch.apply(images, seed=seeds)
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
    )


def training_image(split: Split | EncodedSplit, index: int, augmentation: Augmentation, key: Key) -> np.ndarray:
    """Returns what training sees of an image before batches are made, `(height, width, channels)`, uint8.

    Args:
        split: The training images.
        index: Which of them.
        augmentation: What is done to it.
        key: Decides what is drawn.
    """
    if isinstance(split, Split):
        return from_pixels(split.image(index), augmentation, key)
    return split.decoded(index, lambda picture: from_file(picture, split.preprocessing, augmentation, key))


def _reader(split: Split | EncodedSplit) -> Reader:
    """Returns what turns numbers of images into pixels and labels."""
    import tensorflow as tf

    labels = tf.constant(split.labels.astype("int32"))
    if isinstance(split, Split) and not isinstance(split.images, np.memmap):
        images = tf.constant(split.images)
        return lambda indices, step=None: (tf.gather(images, indices), tf.gather(labels, indices))

    def together(indices: np.ndarray) -> np.ndarray:
        return np.stack([split.image(index) for index in indices.tolist()])

    def read(indices: "tf.Tensor", step: "tf.Tensor | None" = None) -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels = tf.numpy_function(together, [indices], tf.uint8, stateful=False)
        pixels.set_shape((indices.shape[0], *split.image_shape))
        return pixels, tf.gather(labels, indices)

    return read


def _training_reader(split: Split | EncodedSplit, augmentation: Augmentation, seed: int) -> Reader:
    """Returns what turns numbers of images, and the step they are for, into pixels drawn for that step, and labels."""
    import tensorflow as tf

    labels = tf.constant(split.labels.astype("int32"))
    by_crew = _by_crew(split, augmentation) if isinstance(split, EncodedSplit) and _is_worth_processes(split) else None

    def together(indices: np.ndarray, step: np.ndarray) -> np.ndarray:
        first, numbers = int(step) * len(indices), indices.tolist()
        keys = [(seed, first + place) for place in range(len(numbers))]
        if by_crew is not None:
            return by_crew(numbers, keys)
        pairs = zip(numbers, keys, strict=True)
        return np.stack([training_image(split, number, augmentation, key) for number, key in pairs])

    def read(indices: "tf.Tensor", step: "tf.Tensor | None" = None) -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels = tf.numpy_function(together, [indices, step], tf.uint8, stateful=False)
        pixels.set_shape((indices.shape[0], *split.image_shape))
        return pixels, tf.gather(labels, indices)

    return read


def _is_worth_processes(split: EncodedSplit) -> bool:
    return len(split) >= _WORTH_PROCESSES and split.files.on_disk(0) is not None


def _by_crew(split: EncodedSplit, augmentation: Augmentation) -> Callable[[list[int], list[Key]], np.ndarray]:
    """Returns what has a batch made by a process; what that can't make is made here, where it is said and replaced."""
    rules = {
        "preprocessing": json.dumps(split.preprocessing.to_dict()),
        "augmentation": json.dumps(augmentation.to_dict()),
    }

    def make(indices: list[int], keys: list[Key]) -> np.ndarray:
        files = [(*(split.files.on_disk(index) or ()), *key) for index, key in zip(indices, keys, strict=True)]
        images, failed = decoder_pool().ask({**rules, "files": files}, (len(indices), *split.image_shape))
        for place in map(int, failed):
            images[place] = training_image(split, indices[place], augmentation, keys[place])
        return images

    return make
