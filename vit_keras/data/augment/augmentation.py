"""`Augmentation`: random changes to training images, drawn per image on the host, and the named strengths."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vit_keras.data.augment.batch_rows import BatchRows, whole_batch
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import FrozenConfig, is_number

if TYPE_CHECKING:
    import tensorflow as tf

_RATES = ("flip_rate", "grayscale_rate", "invert_rate", "erase_rate", "mix_rate", "switch_rate")
_RANGES = ("crop_scale", "crop_ratio")
_GEOMETRY = ("rotation", "zoom", "stretch", "shift")
_COLOR = ("hue", "saturation", "contrast", "brightness", "grayscale_rate", "invert_rate", "erase_rate")


@dataclass(frozen=True, kw_only=True)
class Augmentation(FrozenConfig):
    """Random changes to each training image, as data; the default 0 turns a change off.

    Random draws are per image and stateless: the same seed gives the same bytes on every backend and in any process. The crop, the
    flip and the policy are applied first, when an image is decoded; then the changes to a batch; then mixing.

    Args:
        crop_scale: Minimum and maximum area of a random resized crop, fractions of the image's area; None for no crop.
        crop_ratio: Minimum and maximum width to height of that crop.
        policy: Policy for single images: "rand-m9-mstd0.5-inc1" (timm's keys), "3-augment", "autocontrast-p0.5".
        flip_rate: Fraction of the images flipped left to right.
        rotation: Maximum rotation, degrees, in either direction.
        zoom: Maximum scaling, as the natural logarithm of the factor, up or down.
        stretch: Maximum change of the aspect ratio, as the natural logarithm of the factor.
        shift: Maximum shift along each axis, fraction of the side, in either direction.
        hue: Maximum rotation of the colors about the gray axis, degrees, in either direction.
        saturation: Maximum change of the saturation, as the natural logarithm of the factor.
        contrast: Maximum change of the contrast, as the natural logarithm of the factor.
        brightness: Maximum change of the brightness, fraction of the range 0..255, up or down.
        grayscale_rate: Fraction of the images turned gray.
        invert_rate: Fraction of the images inverted.
        erase_rate: Fraction of the images with one rectangle painted over.
        mixup_alpha: Both parameters of the Beta distribution of MixUp; 0 turns MixUp off.
        cutmix_alpha: Both parameters of CutMix's; 0 turns CutMix off.
        mix_rate: Fraction of the images that are mixed, if MixUp or CutMix is on.
        switch_rate: Fraction of the mixed images that use CutMix, if both are on.
        repeats: Differently augmented copies of an image in a batch (Hoffer et al. 2020, arXiv 1901.09335).

    Raises:
        InvalidArgumentError: A number is negative, a rate above 1, a range in the wrong order, or the policy unknown.

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
            f"{name}={value!r} is not a number {'from 0 to 1' if name in _RATES else 'of at least 0'}"
            for name, value in values.items()
            if name not in (*_RANGES, "policy", "repeats")
            and not (is_number(value) and value >= 0 and (name not in _RATES or value <= 1))
        ]
        wrong += [
            f"{name}={values[name]!r} is not a pair of positive numbers, the smaller first{', at most 1' if name == 'crop_scale' else ''}"
            for name in _RANGES
            if not (name == "crop_scale" and values[name] is None) and not _is_range(values[name], name)
        ]
        if type(self.repeats) is not int or self.repeats < 1:
            wrong.append(f"repeats={self.repeats!r} is not a positive integer")
        if not isinstance(self.policy, str):
            wrong.append(f"policy={self.policy!r} is not a string")
        elif self.policy:
            try:
                from vit_keras.data.augment.policies import parse_policy

                parse_policy(self.policy)
            except InvalidArgumentError as error:
                wrong.append(str(error).rstrip("."))
        if wrong:
            raise InvalidArgumentError(f"Augmentation: {'; '.join(wrong)}.")

    @property
    def per_image(self) -> bool:
        """Whether there are changes to single images when they are decoded: a crop or a policy."""
        return self.crop_scale is not None or bool(self.policy)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that targets have shape `(batch, classes)`."""
        return bool(self.mix_rate and (self.mixup_alpha or self.cutmix_alpha))

    def apply(self, images: "tf.Tensor", *, seed: "tf.Tensor", rows: BatchRows | None = None) -> "tf.Tensor":
        """Applies the changes to a batch: flip, geometry, color, erasing.

        Args:
            images: `(batch, height, width, channels)`, uint8 or float pixels 0..255; the shape is static.
            seed: Two integers that determine all random draws.
            rows: Which images of a larger batch these are.

        Returns:
            Pixels 0..255 of the same shape, in float32; if they are at most flipped, in the dtype of `images`.
        """
        import tensorflow as tf

        draws = _Draws(seed, rows or whole_batch(images.shape[0]))
        if not any(getattr(self, name) for name in (*_GEOMETRY, *_COLOR)):
            return self._flip(images, draws) if self.flip_rate else images
        images = tf.cast(images, tf.float32)
        if any(getattr(self, name) for name in _GEOMETRY):
            images = self._warp(images, draws)
        elif self.flip_rate:
            images = self._flip(images, draws)
        if self.hue or self.saturation or self.grayscale_rate:
            images = self._recolor(images, draws)
        if self.contrast or self.brightness:
            factor, move = tf.exp(draws.within(self.contrast)), 255 * draws.within(self.brightness)
            images = (images - 127.5) * factor[:, None, None, None] + 127.5 + move[:, None, None, None]
        if self.invert_rate:
            images = tf.where(draws.happens(self.invert_rate)[:, None, None, None], 255 - images, images)
        images = tf.clip_by_value(images, 0, 255)
        return self._erase(images, draws) if self.erase_rate else images

    def _flip(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        import tensorflow as tf

        return tf.where(draws.happens(self.flip_rate)[:, None, None, None], tf.reverse(images, [2]), images)

    def _warp(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        """Rotates, zooms, stretches, flips and shifts in one bilinear sampling; edge pixels are repeated."""
        import tensorflow as tf

        _, height, width, _ = images.shape
        turn = draws.within(math.radians(self.rotation))
        zoom, stretch = draws.within(self.zoom), draws.within(self.stretch) / 2
        flip = tf.where(draws.happens(self.flip_rate), -1.0, 1.0)
        scale_x, scale_y = tf.exp(zoom + stretch) * flip, tf.exp(zoom - stretch)
        # The source of each pixel: x' = a x + b y + c, and so for y'.
        a, b = tf.cos(turn) * scale_x, -tf.sin(turn) * scale_y
        d, e = tf.sin(turn) * scale_x, tf.cos(turn) * scale_y
        center_x, center_y = (width - 1) / 2, (height - 1) / 2
        c = center_x - a * center_x - b * center_y + draws.within(self.shift) * width
        f = center_y - d * center_x - e * center_y + draws.within(self.shift) * height
        zero = tf.zeros_like(a)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
            output_shape=[height, width],
            interpolation="BILINEAR",
            fill_mode="NEAREST",
            fill_value=0.0,
        )

    def _recolor(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        """Changes hue and saturation with one 3x3 matrix per image."""
        import tensorflow as tf

        if images.shape[-1] != 3:
            return images
        turn = draws.within(math.radians(self.hue))
        strength = tf.exp(draws.within(self.saturation))
        strength = tf.where(draws.happens(self.grayscale_rate), 0.0, strength)
        # Rodrigues' rotation about the gray axis.
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

    def _erase(self, images: "tf.Tensor", draws: "_Draws") -> "tf.Tensor":
        """Paints one rectangle of random position, size (a fifth to three fifths of each side) and color."""
        import tensorflow as tf

        _, height, width, channels = images.shape

        def covered(side: int) -> "tf.Tensor":
            center, half = draws.between(0, side), draws.between(0.1 * side, 0.3 * side)
            return tf.abs(tf.range(side, dtype=tf.float32) + 0.5 - center[:, None]) < half[:, None]

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
    # Measured in benchmarks/finetune.py. No flip, which changes the meaning of digits, words and signs.
    "moved": Augmentation(rotation=5, zoom=0.1, stretch=0.05, shift=0.05, contrast=0.1, brightness=0.05),
    # fast.ai's training script for Imagenette: https://github.com/fastai/fastai, nbs/examples/train_imagenette.py.
    "light": Augmentation(crop_scale=(0.35, 1.0), flip_rate=0.5),
    # Close to "medium" of Steiner et al. 2021, arXiv 2106.10270: two operations of RandAugment, MixUp 0.2.
    "medium": Augmentation(crop_scale=(0.08, 1.0), flip_rate=0.5, policy="rand-m7-mstd0.5-inc1", mixup_alpha=0.2),
    # Touvron et al. 2021, DeiT, arXiv 2012.12877, table 9, without repeated augmentation; erases to one color, not to noise.
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
"""The named strengths, each with its source."""


def resolve_augmentation(value: Augmentation | str | None) -> Augmentation:
    """Returns an augmentation, or that of a name in `STRENGTHS`; None stands for "none"."""
    if isinstance(value, Augmentation):
        return value
    name = "none" if value is None else value
    if not isinstance(name, str) or name not in STRENGTHS:
        raise InvalidArgumentError(f"There is no augmentation {value!r}: expected one of {', '.join(STRENGTHS)}.")
    return STRENGTHS[name]


class _Draws:
    """Random numbers, one per image, determined by the seed and the number of earlier calls."""

    def __init__(self, seed: "tf.Tensor", rows: BatchRows) -> None:
        self._seed, self._rows, self._calls = seed, rows, 0

    def between(self, low: float, high: float) -> Any:
        import tensorflow as tf

        self._calls += 1
        seed = tf.random.experimental.stateless_fold_in(tf.cast(self._seed, tf.int32), self._calls)
        return self._rows.take(tf.random.stateless_uniform((self._rows.batch_size,), seed, low, high))

    def within(self, largest: float) -> Any:
        return self.between(-largest, largest)

    def happens(self, rate: float) -> Any:
        return self.between(0.0, 1.0) < rate
