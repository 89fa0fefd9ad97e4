"""Random changes to training images, drawn image by image, on the host."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vit_keras.data.augment.policies import policy_of
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import FrozenConfig, is_number

if TYPE_CHECKING:
    import tensorflow as tf

_RATES = ("flip_rate", "grayscale_rate", "invert_rate", "erase_rate", "mix_rate", "switch_rate")
_RANGES = ("crop_scale", "crop_ratio")
_MOVING = ("rotation", "zoom", "stretch", "shift")
_PAINTING = ("hue", "saturation", "contrast", "brightness", "grayscale_rate", "invert_rate", "erase_rate")


@dataclass(frozen=True, kw_only=True)
class Augmentation(FrozenConfig):
    """What is done to each training image, as data; every number 0 leaves the images alone.

    Each image draws for itself, from stateless seeds: the same seed gives the same bytes, on every backend, in any process. The
    crop and the policy come first, where the image is decoded; then what is done to a batch; then mixing.

    Args:
        crop_scale: Least and largest area of a random crop, fractions of the image's; None for no such crop.
        crop_ratio: Least and largest width to height of that crop.
        policy: What is done to single images, as `policy_of` reads it: "rand-m9-mstd0.5-inc1", "3-augment", "autocontrast-p0.5".
        flip_rate: Fraction of the images mirrored left to right.
        rotation: Largest turn, degrees, either way.
        zoom: Largest change of size, as the natural logarithm of the factor, either way.
        stretch: Largest change of height to width, likewise.
        shift: Largest move, fraction of the side, either way along each axis.
        hue: Largest turn of the colours about the grey axis, degrees, either way.
        saturation: Largest change of the colours' strength, as the natural logarithm of the factor, either way.
        contrast: Largest change of the contrast, likewise.
        brightness: Largest change of the brightness, fraction of the range, either way.
        grayscale_rate: Fraction of the images without colour.
        invert_rate: Fraction of the images as negatives.
        erase_rate: Fraction of the images with one rectangle painted over.
        mixup_alpha: Both parameters of the Beta distribution that MixUp draws from; 0 for no MixUp.
        cutmix_alpha: Both parameters of CutMix's; 0 for no CutMix.
        mix_rate: Fraction of the images that are mixed, where one of the two is on.
        switch_rate: Fraction of those that are mixed by CutMix, where both are on.
        repeats: Copies of an image in a batch, each changed in its own way (Hoffer et al. 2020, arXiv 1901.09335).

    Raises:
        InvalidArgumentError: A number is negative, a rate above 1, a range turned round, or the policy unknown.

    Example:
        >>> Augmentation(flip_rate=0.5, shift=0.1).to_dict()["shift"]
        0.1
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    policy: str = ""
    flip_rate: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    grayscale_rate: float = 0.0
    invert_rate: float = 0.0
    erase_rate: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_rate: float = 1.0
    switch_rate: float = 0.5
    repeats: int = 1

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in asdict(self)}
        wrong = [
            f"{name}={value!r} is not a number {'from 0 to 1' if name in _RATES else 'from 0 up'}"
            for name, value in values.items()
            if name not in (*_RANGES, "policy", "repeats")
            and not (is_number(value) and value >= 0 and (name not in _RATES or value <= 1))
        ]
        wrong += [
            f"{name}={values[name]!r} is no pair of positive numbers, the smaller first{' and none over 1' if name == 'crop_scale' else ''}"
            for name in _RANGES
            if not (name == "crop_scale" and values[name] is None) and not _is_range(values[name], name)
        ]
        if type(self.repeats) is not int or self.repeats < 1:
            wrong.append(f"repeats={self.repeats!r} is not a positive whole number")
        if not isinstance(self.policy, str):
            wrong.append(f"policy={self.policy!r} is not a name")
        elif self.policy:
            try:
                policy_of(self.policy)
            except InvalidArgumentError as error:
                wrong.append(str(error).rstrip("."))
        if wrong:
            raise InvalidArgumentError(f"Images can't be augmented so: {'; '.join(wrong)}.")

    @property
    def per_image(self) -> bool:
        """Whether there is something to do to single images, where they are decoded."""
        return self.crop_scale is not None or bool(self.policy)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that targets are `(batch, classes)`."""
        return bool(self.mix_rate and (self.mixup_alpha or self.cutmix_alpha))

    def apply(self, images: "tf.Tensor", *, seed: "tf.Tensor") -> "tf.Tensor":
        """Returns the images changed.

        Args:
            images: `(batch, height, width, channels)`, uint8 or float pixels 0..255; the shape is static.
            seed: Two whole numbers that decide everything drawn.

        Returns:
            Pixels 0..255 of the same shape: float32, or as they were where they are only mirrored, or left alone.
        """
        import tensorflow as tf

        draws = _Draws(seed, images.shape[0])
        if not any(getattr(self, name) for name in (*_MOVING, *_PAINTING)):
            return self._mirrored(images, draws) if self.flip_rate else images
        images = tf.cast(images, tf.float32)
        if any(getattr(self, name) for name in _MOVING):
            images = self._moved(images, draws)
        elif self.flip_rate:
            images = self._mirrored(images, draws)
        if self.hue or self.saturation or self.grayscale_rate:
            images = self._recoloured(images, draws)
        if self.contrast or self.brightness:
            factor, move = tf.exp(draws.within(self.contrast)), 255 * draws.within(self.brightness)
            images = (images - 127.5) * factor[:, None, None, None] + 127.5 + move[:, None, None, None]
        if self.invert_rate:
            images = tf.where(draws.happens(self.invert_rate)[:, None, None, None], 255 - images, images)
        images = tf.clip_by_value(images, 0, 255)
        return self._erased(images, draws) if self.erase_rate else images

    def _mirrored(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        import tensorflow as tf

        return tf.where(draws.happens(self.flip_rate)[:, None, None, None], tf.reverse(images, [2]), images)

    def _moved(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        """Turns, zooms, stretches, mirrors and shifts about the centre in one bilinear sampling; edges are continued."""
        import tensorflow as tf

        _, height, width, _ = images.shape
        turn = draws.within(math.radians(self.rotation))
        zoom, stretch = draws.within(self.zoom), draws.within(self.stretch) / 2
        mirror = tf.where(draws.happens(self.flip_rate), -1.0, 1.0)
        scale_x, scale_y = tf.exp(zoom + stretch) * mirror, tf.exp(zoom - stretch)
        # Where in the old image each pixel of the new one comes from: x' = a x + b y + c, and so for y'.
        a, b = tf.cos(turn) * scale_x, -tf.sin(turn) * scale_y
        d, e = tf.sin(turn) * scale_x, tf.cos(turn) * scale_y
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        c = middle_x - a * middle_x - b * middle_y + draws.within(self.shift) * width
        f = middle_y - d * middle_x - e * middle_y + draws.within(self.shift) * height
        zero = tf.zeros_like(a)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
            output_shape=[height, width],
            interpolation="BILINEAR",
            fill_mode="NEAREST",
            fill_value=0.0,
        )

    def _recoloured(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        """Turns the colours about the grey axis and strengthens or weakens them: one 3x3 matrix an image."""
        import tensorflow as tf

        if images.shape[-1] != 3:
            return images  # no colours to change
        turn = draws.within(math.radians(self.hue))
        strength = tf.exp(draws.within(self.saturation))
        strength = tf.where(draws.happens(self.grayscale_rate), 0.0, strength)
        # Rodrigues' rotation about the unit vector of grey.
        along, across = tf.cos(turn), tf.sin(turn) / math.sqrt(3)
        same, next_one, last_one = along + (1 - along) / 3, (1 - along) / 3 - across, (1 - along) / 3 + across
        rows = [[same, next_one, last_one], [last_one, same, next_one], [next_one, last_one, same]]
        rotation = tf.transpose(tf.convert_to_tensor(rows), (2, 0, 1))  # (batch, 3, 3)
        luma = tf.constant([[0.299, 0.587, 0.114]] * 3)  # ITU-R BT.601
        saturation = strength[:, None, None] * tf.eye(3) + (1 - strength)[:, None, None] * luma
        matrix = tf.matmul(saturation, rotation)
        batch, height, width, _ = images.shape
        pixels = tf.reshape(images, (batch, height * width, 3))
        return tf.reshape(tf.matmul(pixels, matrix, transpose_b=True), images.shape)

    def _erased(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        """Paints one rectangle of random place, size (a fifth to three fifths of a side) and colour."""
        import tensorflow as tf

        _, height, width, channels = images.shape

        def covered(side: int) -> "tf.Tensor":
            middle, half = draws.between(0, side), draws.between(0.1 * side, 0.3 * side)
            return tf.abs(tf.range(side, dtype=tf.float32) + 0.5 - middle[:, None]) < half[:, None]

        chosen = draws.happens(self.erase_rate)[:, None, None]
        hole = chosen & covered(height)[:, :, None] & covered(width)[:, None, :]
        paint = tf.stack([draws.between(0, 255) for _ in range(channels)], axis=1)[:, None, None, :]
        return tf.where(hole[..., None], paint, images)


def _is_range(value: object, name: str) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(is_number(number) for number in value)
        and 0 < value[0] <= value[1] <= (1 if name == "crop_scale" else math.inf)
    )


STRENGTHS: Mapping[str, Augmentation] = {
    "none": Augmentation(),
    # Measured: benchmarks/finetune.py. Nothing is mirrored: that changes what digits, words and signs are.
    "moved": Augmentation(rotation=5, zoom=0.1, stretch=0.05, shift=0.05, contrast=0.1, brightness=0.05),
    # fast.ai's training script for Imagenette: https://github.com/fastai/fastai, nbs/examples/train_imagenette.py.
    "light": Augmentation(crop_scale=(0.35, 1.0), flip_rate=0.5),
    # After the medium of Steiner et al. 2021, arXiv 2106.10270: two changes of RandAugment, MixUp 0.2.
    "medium": Augmentation(crop_scale=(0.08, 1.0), flip_rate=0.5, policy="rand-m7-mstd0.5-inc1", mixup_alpha=0.2),
    # Touvron et al. 2021, DeiT, arXiv 2012.12877, table 9, without its repeats; what it erases to noise gets one colour here.
    "strong": Augmentation(
        crop_scale=(0.08, 1.0),
        flip_rate=0.5,
        policy="rand-m9-mstd0.5-inc1",
        erase_rate=0.25,
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
    ),
    # Touvron et al. 2022, DeiT III, arXiv 2204.07118.
    "3-augment": Augmentation(
        crop_scale=(0.08, 1.0), flip_rate=0.5, policy="3-augment", mixup_alpha=0.8, cutmix_alpha=1.0
    ),
}
"""Augmentations by name, each with its source."""


def augmentation_of(value: Augmentation | str | None) -> Augmentation:
    """Returns an augmentation, or that of a name of `STRENGTHS`; None is "none".

    Raises:
        InvalidArgumentError: There is no such name.

    Example:
        >>> augmentation_of("light").flip_rate
        0.5
    """
    if isinstance(value, Augmentation):
        return value
    name = "none" if value is None else value
    if not isinstance(name, str) or name not in STRENGTHS:
        raise InvalidArgumentError(f"There is no augmentation {value!r}: the names are {', '.join(STRENGTHS)}.")
    return STRENGTHS[name]


class _Draws:
    """Random numbers, one an image; each call draws anew, and the same calls in the same order draw the same."""

    def __init__(self, seed: "tf.Tensor", count: int) -> None:
        self._seed, self._count, self._calls = seed, count, 0

    def between(self, low: float, high: float) -> Any:
        """Returns one number an image, uniform from low to high."""
        import tensorflow as tf

        self._calls += 1
        seed = tf.random.experimental.stateless_fold_in(tf.cast(self._seed, tf.int32), self._calls)
        return tf.random.stateless_uniform((self._count,), seed, low, high)

    def within(self, largest: float) -> Any:
        """Returns one number an image, uniform from -largest to largest."""
        return self.between(-largest, largest)

    def happens(self, rate: float) -> Any:
        """Returns one truth an image, true for that fraction."""
        return self.between(0.0, 1.0) < rate
