"""Batches as `tf.data`, made on the host: Pillow does images, TensorFlow does batches."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vit_keras.data.augmentation import Augmentation
from vit_keras.data.cropping import random_box
from vit_keras.data.host import stay_on_host
from vit_keras.data.images import Picture
from vit_keras.data.mixing import mix
from vit_keras.data.policies import policy_of
from vit_keras.data.resizing import Resizing, pixels
from vit_keras.data.splits import EncodedSplit, Split

if TYPE_CHECKING:
    import tensorflow as tf


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
    first_step: int,
    last_step: int,
) -> "tf.data.Dataset":
    """Returns training batches; their bytes are a function of seed and step, whoever computes them and from where on.

    Args:
        split: The training images.
        order: Which of them a step sees.
        augmentation: What is done to each.
        num_classes: Width of mixed targets.
        first_step: Step to start with, counted from the start of training.
        last_step: Step to end before.
    """
    import tensorflow as tf

    stay_on_host()
    if augmentation.crop_scale is None:
        split = split.prepared  # the same pixels every time
    read = _training_reader(split, augmentation, order.seed) if augmentation.per_image else _reader(split)

    def batch(step: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        indices = order.indices(step)
        images, labels = read(indices, step)
        seed = tf.stack([tf.constant(order.seed, tf.int64), step])
        images = augmentation.apply(images, seed=seed)
        if augmentation.mixes:
            images, labels = mix(
                images,
                labels,
                num_classes=num_classes,
                seed=seed,
                mixup_alpha=augmentation.mixup_alpha,
                cutmix_alpha=augmentation.cutmix_alpha,
                mix_rate=augmentation.mix_rate,
                switch_rate=augmentation.switch_rate,
            )
        return images, labels

    numbers = tf.data.Dataset.range(first_step, last_step)
    return numbers.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def training_image(
    split: Split | EncodedSplit, index: int, augmentation: Augmentation, *, key: tuple[int, int]
) -> np.ndarray:
    """Returns a training image cropped and changed as the augmentation's stages for single images say.

    Args:
        split: The training images.
        index: Which of them.
        augmentation: What is done to it.
        key: Two numbers that decide everything drawn.

    Returns:
        `(height, width, channels)`, uint8.
    """
    policy = policy_of(augmentation.policy) if augmentation.policy else None

    def box_in(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int] | None:
        if augmentation.crop_scale is None:
            return None
        return random_box(size, rng, scale=augmentation.crop_scale, ratio=augmentation.crop_ratio)

    def changed(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
        return pixels(image if policy is None else policy.apply(image, rng))

    if isinstance(split, Split):
        rng, image = _generator(key), Image.fromarray(split.image(index).squeeze())
        box = box_in(image.size, rng)
        return changed(image if box is None else Resizing(image_size=image.size[::-1]).boxed(image, box), rng)
    resizing = split.resizing

    def decode(picture: Picture) -> np.ndarray:
        rng = _generator(
            key
        )  # made anew for every try: a file that fails must draw nothing from the next one's numbers
        box = box_in(picture.size, rng)
        image = (
            resizing.apply(picture.decode(channels=resizing.channels))
            if box is None
            else _cropped(picture, box, resizing)
        )
        return changed(image, rng)

    return split.decoded(index, decode)


def _generator(key: tuple[int, int]) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.asarray(key, dtype="uint64")))


def _cropped(picture: Picture, box: tuple[int, int, int, int], resizing: Resizing) -> Image.Image:
    """Decodes no larger than the crop needs, then cuts and resizes at once."""
    width, height = picture.size
    rows, columns = resizing.image_size
    left, top, right, bottom = box
    enough = math.ceil(width * columns / (right - left)), math.ceil(height * rows / (bottom - top))
    image = picture.decode(channels=resizing.channels, at_least=enough)
    scale_x, scale_y = image.size[0] / width, image.size[1] / height
    return resizing.boxed(image, (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y))


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

    def together(indices: np.ndarray, step: np.ndarray) -> np.ndarray:
        first = int(step) * len(indices)
        return np.stack(
            [
                training_image(split, index, augmentation, key=(seed, first + place))
                for place, index in enumerate(indices.tolist())
            ]
        )

    def read(indices: "tf.Tensor", step: "tf.Tensor | None" = None) -> tuple["tf.Tensor", "tf.Tensor"]:
        pixels = tf.numpy_function(together, [indices, step], tf.uint8, stateful=False)
        pixels.set_shape((indices.shape[0], *split.image_shape))
        return pixels, tf.gather(labels, indices)

    return read
