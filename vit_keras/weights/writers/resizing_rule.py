"""What brings an image to a model's size, as the writers of other libraries' files take it."""

import math
from dataclasses import dataclass
from typing import Protocol

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError

GREY = 128
"""What `Preprocessing` puts where crop_mode="border" finds an image too short, of 0..255."""


class ResizingRule(Protocol):
    """What `vit_keras.data.Preprocessing` has, which stands above this package."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, px."""

    @property
    def channels(self) -> int:
        """Channels of an image."""

    @property
    def crop(self) -> float:
        """Fraction of the resized image that is kept."""

    @property
    def crop_mode(self) -> str:
        """One of "center", "squash" and "border"."""

    @property
    def interpolation(self) -> str:
        """One of "bicubic", "bilinear", "lanczos" and "nearest"."""


@dataclass(frozen=True)
class _Default:
    image_size: tuple[int, int]
    channels: int
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"


def rule_for(config: ViTConfig, preprocessing: ResizingRule | None) -> ResizingRule:
    """Returns the rule, by default that of `Preprocessing`: the model's size, uncut.

    Args:
        config: The model's.
        preprocessing: The rule, or None.

    Raises:
        InvalidArgumentError: It makes images of another size or other channels than the model's.
    """
    if preprocessing is None:
        return _Default(config.image_size, config.channels)
    check_fits(preprocessing, config)
    return preprocessing


def check_fits(preprocessing: ResizingRule, config: ViTConfig) -> None:
    """Raises `InvalidArgumentError` where a rule makes images of another size or other channels than the model's.

    Args:
        preprocessing: The rule.
        config: The model's.
    """
    made, taken = (*preprocessing.image_size, preprocessing.channels), (*config.image_size, config.channels)
    if made != taken:
        raise InvalidArgumentError(
            f"The preprocessing makes images of {made} (height, width, channels), and the model takes {taken}; they must be the same."
        )


def size_before_cropping(rule: ResizingRule) -> tuple[int, int]:
    """Returns the height and width, px, that an image has before its margin is cut off.

    Args:
        rule: The rule.
    """
    height, width = (math.floor(side / rule.crop) for side in rule.image_size)
    return height, width


def each_channel(values: tuple[float, ...], channels: int) -> list[float]:
    """Returns a value for each channel.

    Args:
        values: One, or one a channel.
        channels: Of the image.
    """
    return list(values) if len(values) == channels else list(values) * channels
