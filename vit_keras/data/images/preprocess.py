"""Exact preprocessing: resizes and crops an image to the size a model takes."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.packed_sizes import fit_grid, packed_shape
from vit_keras.packing import pack_image
from vit_keras.presets import find_name, load_preset
from vit_keras.presets.names import refuse_tag
from vit_keras.validation import FrozenConfig, is_number

CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
GRAY: dict[str, int | tuple[int, ...]] = {"RGB": (128, 128, 128), "L": 128}


@dataclass(frozen=True, kw_only=True)
class Preprocessing(FrozenConfig):
    """How an image of any size becomes one of a given size. The pixels are those of timm's evaluation transforms.

    Args:
        image_size: Height and width, px.
        channels: 3 for color, 1 for gray.
        crop: Fraction of the resized image's sides to keep, 0.1 to 1; the same margin is cut off on opposite sides.
        crop_mode: "center" cuts off what is too long, "squash" changes the aspect ratio, "border" adds gray borders.
        interpolation: "bicubic", "bilinear", "lanczos" or "nearest", with Pillow's antialiasing.
        patch_size: Side of a patch, px, of packed images; None for plain ones.
        max_num_patches: Makes packed images (`vit_keras.packing`) instead: resized as a whole, `crop` and `crop_mode` aside, to at most
            this many patches, nearly in their own aspect ratio. `image_size` then only names the size of the model's positions.
        pixel_range: Black and white of gray image files with more than 8 bits or floating-point pixels; None for 0 and 65535, and no
            floating-point pixels. Other files state their own range.

    Raises:
        InvalidArgumentError: One of them is not legal.

    Example:
        >>> Preprocessing(image_size=(224, 224), crop=0.875).resized_size((500, 375))
        (341, 256)
    """

    image_size: tuple[int, int]
    channels: int = 3
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    # The digests of data sets contain the fields before these.
    pixel_range: tuple[float, float] | None = field(default=None, repr=False)
    patch_size: int | None = field(default=None, repr=False)
    max_num_patches: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        wrong = []
        sides = self.image_size
        if not isinstance(sides, tuple) or len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
            wrong.append(f"image_size={sides!r} is not (height, width) in positive integers (px)")
        if type(self.channels) is not int or self.channels not in (1, 3):
            wrong.append(f"channels={self.channels!r} is neither 1 nor 3")
        if not is_number(self.crop) or not 0.1 <= self.crop <= 1:
            wrong.append(f"crop={self.crop!r} is not a number from 0.1 to 1")
        if self.crop_mode not in CROP_MODES:
            wrong.append(f"crop_mode={self.crop_mode!r} is none of {', '.join(CROP_MODES)}")
        if self.interpolation not in INTERPOLATIONS:
            wrong.append(f"interpolation={self.interpolation!r} is none of {', '.join(INTERPOLATIONS)}")
        ends = self.pixel_range
        if ends is not None and not (
            isinstance(ends, tuple) and len(ends) == 2 and all(map(is_number, ends)) and ends[0] < ends[1]
        ):
            wrong.append(f"pixel_range={ends!r} is not None or the values of black and white, such as (0, 1)")
        packing = {"patch_size": self.patch_size, "max_num_patches": self.max_num_patches}
        numbers = [value for value in packing.values() if value is not None]
        if len(numbers) == 1 or any(type(number) is not int or number < 1 for number in numbers):
            wrong.append(f"{packing} are not both None or both positive integers")
        if wrong:
            raise InvalidArgumentError(f"Preprocessing: {'; '.join(wrong)}.")

    @property
    def packs(self) -> bool:
        """Whether it makes packed images."""
        return self.max_num_patches is not None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of the pixels it makes: height, width (px) and channels; of a packed image with `max_num_patches`."""
        if self.max_num_patches is None or self.patch_size is None:
            return (*self.image_size, self.channels)
        return packed_shape(self.max_num_patches, self.patch_size, self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Returns every field as JSON can hold it; without those that are None, as earlier versions wrote it."""
        return {name: value for name, value in super().to_dict().items() if value is not None}

    def resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the width and height, px, of an image of this width and height after resizing and before cropping."""
        height, width = (math.floor(side / self.crop) for side in self.image_size)
        if self.crop_mode == "squash":
            return width, height
        if self.crop_mode == "center" and height == width:  # as torchvision, truncates the longer side to an integer
            short = min(size)
            return tuple(height if side == short else int(height * side / short) for side in size)  # type: ignore[return-value]
        ratios = size[0] / width, size[1] / height
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        return round(size[0] / ratio), round(size[1] / ratio)

    def to_array(self, image: Image.Image) -> np.ndarray:
        """Returns an image in mode "RGB" or "L" as the pixels that a model takes, `image_shape`, uint8."""
        return self.pack(to_pixels(self.apply(image)))

    def pack(self, pixels: np.ndarray) -> np.ndarray:
        """Returns pixels of the final size, packed if this preprocessing packs."""
        if self.max_num_patches is None or self.patch_size is None:
            return pixels
        return pack_image(pixels, patch_size=self.patch_size, max_num_patches=self.max_num_patches)

    def target_size(self, width: float, height: float) -> tuple[int, int]:
        """Returns the height and width, px, that an image of this width and height, or a part of it, is resized to."""
        if self.max_num_patches is None or self.patch_size is None:
            return self.image_size
        rows, columns = fit_grid(height, width, patch_size=self.patch_size, max_num_patches=self.max_num_patches)
        return rows * self.patch_size, columns * self.patch_size

    def apply(self, image: Image.Image) -> Image.Image:
        """Returns an image in mode "RGB" or "L", resized and cropped."""
        if self.max_num_patches is not None:
            return self.resize_box(image, (0, 0, *image.size))
        height, width = self.image_size
        if image.size == (width, height) and self.crop == 1:
            return image
        resized = self.resized_size(image.size)
        left, top = (_margin(long, side) for long, side in zip(resized, (width, height), strict=True))
        if left >= 0 and top >= 0:  # resizes only the part that is kept
            scale_x, scale_y = image.size[0] / resized[0], image.size[1] / resized[1]
            box = (left * scale_x, top * scale_y, (left + width) * scale_x, (top + height) * scale_y)
            return self.resize_box(image, box)
        whole = image.resize(resized, INTERPOLATIONS[self.interpolation])
        framed = Image.new(image.mode, (width, height), GRAY[image.mode])
        framed.paste(whole, (-left, -top))
        return framed

    def resize_box(self, image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
        """Returns a box of the image (left, top, right, bottom; px, clipped to it) at the final size; `crop` and `crop_mode` don't matter."""
        inside = (max(box[0], 0), max(box[1], 0), min(box[2], image.size[0]), min(box[3], image.size[1]))
        height, width = self.target_size(inside[2] - inside[0], inside[3] - inside[1])
        if inside == (0, 0, width, height) == (0, 0, *image.size):
            return image
        return image.resize((width, height), INTERPOLATIONS[self.interpolation], box=inside)


def _margin(resized: int, side: int) -> int:
    """Returns the px to cut off before the center, negative to add; rounds an odd difference as torchvision does."""
    return round((resized - side) / 2) if resized >= side else -((side - resized) // 2)


def default_preprocessing(config: ViTConfig) -> Preprocessing:
    """Returns the preprocessing of a model that states none: its image size without a crop; packed with `max_num_patches`.

    >>> default_preprocessing(ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64))
    Preprocessing(image_size=(32, 32), channels=3, crop=1.0, crop_mode='center', interpolation='bicubic')
    """
    plain = Preprocessing(image_size=config.image_size, channels=config.channels)
    if config.max_num_patches is None:
        return plain
    return plain.replace(patch_size=config.patch_size, max_num_patches=config.max_num_patches)


def preset_preprocessing(preset: str, *, weights: str | None = None) -> Preprocessing:
    """Returns the preprocessing of a preset's model.

    Args:
        preset: A name of `list_presets()`, or `NAME:TAG`.
        weights: A tag of its weights, for that checkpoint's evaluation preprocessing; by default the image size without a crop.

    Raises:
        InvalidArgumentError: There is no such preset or tag.

    Example:
        >>> preset_preprocessing("vit_tiny_patch16_224", weights="augreg_in21k_ft_in1k")
        Preprocessing(image_size=(224, 224), channels=3, crop=0.9, crop_mode='center', interpolation='bicubic')
    """
    found, named = load_preset(preset), find_name(preset)
    if weights is None and named is not None:
        weights = named.tag
    if weights is None:
        return default_preprocessing(found.config)
    if weights not in found.weights:
        raise InvalidArgumentError(refuse_tag(found, weights))
    checkpoint = found.weights[weights]
    config = found.config.replace(**checkpoint.config)
    return default_preprocessing(config).replace(
        crop=checkpoint.crop,
        crop_mode=checkpoint.crop_mode,
        interpolation=checkpoint.interpolation,
    )


def to_pixels(image: Image.Image) -> np.ndarray:
    """Converts an image in mode "RGB" or "L" to `(height, width, channels)`, uint8."""
    width, height = image.size
    return np.asarray(image, dtype="uint8").reshape(height, width, -1)


def to_image(pixels: np.ndarray) -> Image.Image:
    """Converts `(height, width, channels)`, uint8, to an image in mode "RGB" or "L"."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
