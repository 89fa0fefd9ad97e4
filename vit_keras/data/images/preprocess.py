"""Brings an image to the size a model takes."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import load_preset
from vit_keras.validation import FrozenConfig, is_number

CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing(FrozenConfig):
    """How an image of any size becomes one of a given size, as data. The rules, to the pixel, are timm's.

    Args:
        image_size: Height and width, px.
        channels: 3 for colour, 1 for grey.
        crop: Fraction of the resized image that is kept; what is cut off is an even margin.
        crop_mode: "center" keeps the proportions and cuts off what is too long; "squash" gives up the proportions; "border"
            keeps them and adds grey where the image is too short.
        interpolation: "bicubic", "bilinear", "lanczos" or "nearest", with Pillow's antialiasing.

    Raises:
        InvalidArgumentError: One of them is not legal.

    Example:
        >>> Preprocessing(image_size=(224, 224), crop=0.875).resized((500, 375))
        (341, 256)
    """

    image_size: tuple[int, int]
    channels: int = 3
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        wrong = []
        sides = self.image_size
        if not isinstance(sides, tuple) or len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
            wrong.append(f"image_size={sides!r} is not (height, width) in whole px")
        if type(self.channels) is not int or self.channels not in (1, 3):
            wrong.append(f"channels={self.channels!r}: only 1 and 3 turn into one another")
        if not is_number(self.crop) or not 0.1 <= self.crop <= 1:
            wrong.append(f"crop={self.crop!r} is not a fraction from 0.1 to 1")
        if self.crop_mode not in CROP_MODES:
            wrong.append(f"crop_mode={self.crop_mode!r} is none of {', '.join(CROP_MODES)}")
        if self.interpolation not in INTERPOLATIONS:
            wrong.append(f"interpolation={self.interpolation!r} is none of {', '.join(INTERPOLATIONS)}")
        if wrong:
            raise InvalidArgumentError(f"Images can't be resized so: {'; '.join(wrong)}.")

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the width and height, px, that an image has before its margin is cut off.

        Args:
            size: Width and height of the image, px.
        """
        height, width = (math.floor(side / self.crop) for side in self.image_size)
        if self.crop_mode == "squash":
            return width, height
        if (
            self.crop_mode == "center" and height == width
        ):  # torchvision's rule: the longer side is cut down to whole px
            short = min(size)
            return tuple(height if side == short else int(height * side / short) for side in size)  # type: ignore[return-value]
        ratios = size[0] / width, size[1] / height
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        return round(size[0] / ratio), round(size[1] / ratio)

    def apply(self, image: Image.Image) -> Image.Image:
        """Returns the image resized and cut.

        Args:
            image: In mode "RGB" or "L".
        """
        height, width = self.image_size
        if image.size == (width, height) and self.crop == 1:
            return image
        resized = self.resized(image.size)
        left, top = (_margin(long, side) for long, side in zip(resized, (width, height), strict=True))
        if left >= 0 and top >= 0:  # what is cut off need not be computed
            scale_x, scale_y = image.size[0] / resized[0], image.size[1] / resized[1]
            box = (left * scale_x, top * scale_y, (left + width) * scale_x, (top + height) * scale_y)
            return self.boxed(image, box)
        whole = image.resize(resized, INTERPOLATIONS[self.interpolation])
        framed = Image.new(image.mode, (width, height), _BORDER[image.mode])
        framed.paste(whole, (-left, -top))
        return framed

    def boxed(self, image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
        """Returns a part of the image at the size, whatever the rest of the rule says.

        Args:
            image: In mode "RGB" or "L".
            box: Left, top, right and bottom of the part, px; what rounding puts outside the image is left out.
        """
        height, width = self.image_size
        inside = (max(box[0], 0), max(box[1], 0), min(box[2], image.size[0]), min(box[3], image.size[1]))
        return image.resize((width, height), INTERPOLATIONS[self.interpolation], box=inside)


def _margin(resized: int, side: int) -> int:
    """Returns what is cut off before the middle, px, or below 0 what is added; an odd px more goes where torchvision puts it."""
    return round((resized - side) / 2) if resized >= side else -((side - resized) // 2)


_BORDER: dict[str, int | tuple[int, ...]] = {"RGB": (128, 128, 128), "L": 128}


def preset_preprocessing(preset: str, *, weights: str | None = None) -> Preprocessing:
    """Returns how the images of a preset's model are resized.

    Args:
        preset: A name of `list_presets()`.
        weights: A tag of its checkpoints, whose size and evaluation rule it is then; None for the preset's size, uncut.

    Raises:
        InvalidArgumentError: There is no such preset or tag.

    Example:
        >>> preset_preprocessing("vit_tiny_patch16_224", weights="augreg_in21k_ft_in1k")
        Preprocessing(image_size=(224, 224), channels=3, crop=0.9, crop_mode='center', interpolation='bicubic')
    """
    found = load_preset(preset)
    if weights is None:
        return Preprocessing(image_size=found.config.image_size, channels=found.config.channels)
    if weights not in found.weights:
        raise InvalidArgumentError(
            f"The preset {preset!r} has no weights {weights!r}: its tags are {sorted(found.weights)}."
        )
    checkpoint = found.weights[weights]
    config = found.config.replace(**checkpoint.config)
    return Preprocessing(
        image_size=config.image_size,
        channels=config.channels,
        crop=checkpoint.crop,
        crop_mode=checkpoint.crop_mode,
        interpolation=checkpoint.interpolation,
    )


def pixels(image: Image.Image) -> np.ndarray:
    """Returns an image as `(height, width, channels)`, uint8.

    Args:
        image: In mode "RGB" or "L".
    """
    width, height = image.size
    return np.asarray(image, dtype="uint8").reshape(height, width, -1)


def image_of(pixels: np.ndarray) -> Image.Image:
    """Returns pixels as an image, in mode "RGB" or "L".

    Args:
        pixels: `(height, width, channels)`, uint8, 3 channels or 1.
    """
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
