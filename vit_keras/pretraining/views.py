"""Random views of images: crops, flips and colors, drawn on the device."""

import math
from dataclasses import dataclass
from typing import Any

from keras import ops, random

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.validation import FrozenConfig

_RATIO = (3 / 4, 4 / 3)  # width to height of a crop
_GRAY = (0.299, 0.587, 0.114)  # of RGB, ITU-R 601


@dataclass(frozen=True, kw_only=True)
class ViewOptions(FrozenConfig):
    """How random views are drawn.

    Args:
        scale: Minimum and maximum area of the crop, fractions of the image's area.
        flip_rate: Fraction of the views flipped left to right.
        jitter_rate: Fraction of the views whose brightness, contrast and saturation change.
        jitter: Maximum change of each of these: a factor from `1 - jitter` to `1 + jitter`.
        grayscale_rate: Fraction of the views turned gray; of RGB images only.
        solarize_rate: Fraction of the views whose pixels from 128 up are inverted.

    Raises:
        InvalidArgumentError: A value is not legal.
    """

    scale: tuple[float, float]
    flip_rate: float = 0.5
    jitter_rate: float = 0.8
    jitter: float = 0.4
    grayscale_rate: float = 0.2
    solarize_rate: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", tuple(self.scale))
        rates = ("flip_rate", "jitter_rate", "jitter", "grayscale_rate", "solarize_rate")
        problems = [
            f"{name}={value!r} is not in [0, 1]" for name in rates if not 0 <= (value := getattr(self, name)) <= 1
        ]
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            problems.append(f"scale={self.scale!r} is not a minimum and a maximum in (0, 1]")
        if problems:
            raise InvalidArgumentError(f"ViewOptions: {'; '.join(problems)}.")


def draw_views(images: Tensor, options: ViewOptions, *, seed: Any) -> Tensor:
    """Returns one random view of each image, of the images' own size.

    A crop is resized by two matrices, one per axis, of bilinear weights, which is one product each on every backend.

    Args:
        images: Pixels 0..255.
        options: How views are drawn.
        seed: A `keras.random.SeedGenerator`, or an integer for the same views in every call.

    Shapes:
        images: `(batch, height, width, channels)`, any dtype.
        returns: `(batch, height, width, channels)`, float32, 0..255.

    Example:
        >>> from keras import ops
        >>> draw_views(ops.ones((2, 8, 8, 3)), ViewOptions(scale=(0.3, 1.0)), seed=0).shape == (2, 8, 8, 3)
        True
    """
    images = ops.cast(images, "float32")
    batch = ops.shape(images)[0]
    height, width, channels = images.shape[1:]
    draws = random.uniform((11, batch), seed=seed)  # one row per random decision
    area = options.scale[0] + (options.scale[1] - options.scale[0]) * draws[0]
    low, high = (math.log(edge) for edge in _RATIO)
    ratio = ops.exp(low + (high - low) * draws[1])
    # Sides as fractions; a crop that would be wider or higher than the image is as wide or high as it.
    across, down = ops.minimum(ops.sqrt(area * ratio), 1.0), ops.minimum(ops.sqrt(area / ratio), 1.0)
    left, top = draws[2] * (1 - across), draws[3] * (1 - down)
    flip = draws[4] < options.flip_rate
    columns = _resize_matrix(ops.where(flip, left + across, left), ops.where(flip, -across, across), width)
    rows = _resize_matrix(top, down, height)
    flat = ops.reshape(
        ops.matmul(rows, ops.reshape(images, (batch, height, width * channels))), (batch, height, width, channels)
    )
    views = ops.einsum("bow,bhwc->bhoc", columns, flat)
    return _change_colors(views, options, draws[5:])


def _resize_matrix(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Returns `(batch, size, size)`: bilinear weights of the input's pixels for each pixel of the output.

    `start` and `length` of the crop are fractions of the side; a negative length mirrors it.
    """
    centers = (ops.arange(size, dtype="float32") + 0.5) / size
    positions = (ops.expand_dims(start, -1) + ops.expand_dims(length, -1) * centers) * size - 0.5
    positions = ops.clip(positions, 0, size - 1)
    distance = ops.abs(ops.expand_dims(positions, -1) - ops.arange(size, dtype="float32"))
    return ops.maximum(1 - distance, 0.0)


def _change_colors(views: Tensor, options: ViewOptions, draws: Tensor) -> Tensor:
    def pick(row: Tensor) -> Tensor:
        return ops.reshape(row, (-1, 1, 1, 1))

    is_rgb = views.shape[-1] == 3
    strength = ops.where(draws[0] < options.jitter_rate, options.jitter, 0.0)
    brightness, contrast, saturation = (pick(1 + strength * (2 * draws[index] - 1)) for index in (1, 2, 3))
    views = ops.clip(views * brightness, 0, 255)
    if is_rgb:
        gray = _to_gray(views)
        views = ops.clip(gray + saturation * (views - gray), 0, 255)
    mean = ops.mean(views, axis=(1, 2, 3), keepdims=True)
    views = ops.clip(mean + contrast * (views - mean), 0, 255)
    if is_rgb:
        views = ops.where(pick(draws[4] < options.grayscale_rate), _to_gray(views), views)
    return ops.where(pick(draws[5] < options.solarize_rate) & (views >= 128), 255 - views, views)


def _to_gray(views: Tensor) -> Tensor:
    """Returns the brightness of RGB images, `(batch, height, width, 1)`."""
    return ops.sum(views * ops.convert_to_tensor(_GRAY, "float32"), axis=-1, keepdims=True)
