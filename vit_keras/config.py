"""What a legal ViT is, and what it costs: plain numbers, no Keras.

The closed forms follow Dosovitskiy et al. 2021, arXiv 2010.11929. One MAC is one multiplication with its addition.
"""

import difflib
import functools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal, TypeGuard, get_args

from vit_keras.errors import InvalidArgumentError

Stem = Literal["patch", "conv"]
PositionEmbedding = Literal["learned", "sincos2d", "none"]
Pooling = Literal["token", "mean", "token_and_mean", "map"]
Activation = Literal["gelu", "gelu_tanh"]
Remat = Literal["none", "block"]

_CHOICES = {
    "stem": get_args(Stem),
    "position_embedding": get_args(PositionEmbedding),
    "pooling": get_args(Pooling),
    "activation": get_args(Activation),
    "remat": get_args(Remat),
}
# Far above any published ViT: a config from a stranger's file can't ask for more memory than a ViT needs.
_LARGEST = {
    "patch_size": 256,
    "channels": 1024,
    "hidden_dim": 16_384,
    "num_layers": 512,
    "num_heads": 512,
    "mlp_dim": 131_072,
}
_LARGEST_SIDE = 8192  # px


def closest(word: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Returns the known words most like `word`, the best first.

    >>> closest("vit_base_patch16", ["vit_tiny_patch16_224", "vit_base_patch16_224"], count=1)
    ['vit_base_patch16_224']
    """
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.3)


def _refuses_unknown_fields(cls: type) -> type:
    """Lets the constructor name unknown and missing fields as any other problem is named."""
    init = cls.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def checked_init(self: object, **values: Any) -> None:
        check_fields(values)
        init(self, **values)

    cls.__init__ = checked_init  # type: ignore[misc]
    return cls


@_refuses_unknown_fields
@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A plain Vision Transformer, written down.

    Frozen; compare, hash, `replace` and `to_dict` it. Every problem is reported at once.

    Args:
        image_size: Height and width, px. One number makes a square.
        patch_size: Side of a patch, px.
        hidden_dim: Width of a token.
        num_layers: Transformer blocks.
        num_heads: Attention heads; they divide `hidden_dim`.
        mlp_dim: Width inside the MLP.
        channels: Channels of an image.
        pixel_mean: Subtracted from pixels / 255; one fraction, or one a channel.
        pixel_std: What the result is divided by; one fraction, or one a channel.
        stem: "patch" cuts the image as the paper does; "conv" halves it with convolutions until one cell is left a patch
            (Xiao et al. 2021, arXiv 2106.14881).
        class_token: Puts a learned token in front of the patches.
        position_embedding: "learned" as in the paper, "sincos2d" fixed (Beyer et al. 2022, arXiv 2205.01580), or "none".
        pooling: What the head sees: the class "token", the "mean" of the patch tokens, "token_and_mean" side by side, or
            "map", attention pooling with one learned query (Zhai et al. 2022, arXiv 2106.04560).
        norm_epsilon: Added to the variance in every LayerNorm.
        activation: "gelu", exact, or "gelu_tanh", its tanh approximation.
        layer_scale: Initial value of the residual branches' scales (Touvron et al. 2021, arXiv 2103.17239), or None.
        dropout_rate: Fraction dropped of the embedded tokens and inside each MLP.
        attention_dropout_rate: Fraction dropped of the attention weights.
        stochastic_depth_rate: Fraction of images that skip the last block's branches; from the first block, which skips
            none, it rises evenly (Huang et al. 2016, arXiv 1603.09382).
        remat: "block" recomputes each block's inside in the backward pass instead of keeping it.

    Raises:
        InvalidArgumentError: A field is unknown, missing or not legal; all reasons in one message.

    Example:
        >>> config = ViTConfig(image_size=224, patch_size=16, hidden_dim=768, num_layers=12, num_heads=12, mlp_dim=3072)
        >>> config.num_tokens, config.num_params
        (197, 85798656)
    """

    image_size: tuple[int, int]
    patch_size: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    channels: int = 3
    pixel_mean: tuple[float, ...] = (0.5,)
    pixel_std: tuple[float, ...] = (0.5,)
    stem: Stem = "patch"
    class_token: bool = True
    position_embedding: PositionEmbedding = "learned"
    pooling: Pooling = "token"
    norm_epsilon: float = 1e-6
    activation: Activation = "gelu"
    layer_scale: float | None = None
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    remat: Remat = "none"

    def __post_init__(self) -> None:
        for name in ("image_size", "pixel_mean", "pixel_std"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = (value, value) if name == "image_size" else (value,)
            if isinstance(value, list):
                value = tuple(value)
            object.__setattr__(self, name, value)  # the one way to tidy a frozen dataclass
        problems = list(self._wrong_kinds()) or list(self._wrong_values())
        if problems:
            raise InvalidArgumentError("This ViT can't be built: " + "; ".join(problems) + ".")

    def _wrong_kinds(self) -> Iterator[str]:
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= largest:
                yield f"{name}={value!r} is not a whole number from 1 to {largest}"
        if not _is_tuple_of(self.image_size, int) or len(self.image_size) != 2 or min(self.image_size) < 1:
            yield f"image_size={self.image_size!r} is not (height, width) in px"
        elif max(self.image_size) > _LARGEST_SIDE:
            yield f"image_size={self.image_size!r} is over {_LARGEST_SIDE} px"
        for name in ("pixel_mean", "pixel_std"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not values or not all(map(is_number, values)):
                yield f"{name}={getattr(self, name)!r} is not one fraction or one a channel"
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                hint = closest(str(value), choices, count=1)
                yield f"{name}={value!r} is none of {list(choices)}" + (f" (did you mean {hint[0]!r}?)" if hint else "")
        if type(self.class_token) is not bool:
            yield f"class_token={self.class_token!r} is not True or False"
        for name in ("dropout_rate", "attention_dropout_rate", "stochastic_depth_rate"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < 1:
                yield f"{name}={value!r} is not a fraction in [0, 1)"
        if not is_number(self.norm_epsilon) or not 0 < self.norm_epsilon <= 0.1:
            yield f"norm_epsilon={self.norm_epsilon!r} is not in (0, 0.1]"
        if self.layer_scale is not None and (not is_number(self.layer_scale) or not 0 < self.layer_scale <= 100):
            yield f"layer_scale={self.layer_scale!r} is neither None nor in (0, 100]"

    def _wrong_values(self) -> Iterator[str]:
        height, width = self.image_size
        if height % self.patch_size or width % self.patch_size:
            nearest = tuple(_nearest_multiple(side, self.patch_size, largest=_LARGEST_SIDE) for side in self.image_size)
            sizes = range(2, _LARGEST["patch_size"] + 1)
            divisors = [size for size in sizes if height % size == 0 and width % size == 0]
            fits = min(divisors, key=lambda size: abs(size - self.patch_size), default=None)
            yield (
                f"patch_size={self.patch_size} does not divide image_size={self.image_size}: "
                f"the nearest image_size is {nearest}" + (f", the nearest patch_size {fits}" if fits else "")
            )
        if self.hidden_dim % self.num_heads:
            fits = min(_divisors(self.hidden_dim), key=lambda heads: abs(heads - self.num_heads))
            yield (
                f"num_heads={self.num_heads} does not divide hidden_dim={self.hidden_dim}: the nearest num_heads is {fits}, "
                f"the nearest hidden_dim {_nearest_multiple(self.hidden_dim, self.num_heads)}"
            )
        if self.pooling in ("token", "token_and_mean") and not self.class_token:
            yield f'pooling="{self.pooling}" needs class_token=True; without one choose pooling="mean" or "map"'
        if self.position_embedding == "sincos2d" and self.hidden_dim % 4:
            nearest_dim = _nearest_multiple(self.hidden_dim, 4)
            yield f'position_embedding="sincos2d" needs a hidden_dim divisible by 4: the nearest to {self.hidden_dim} is {nearest_dim}'
        if self.stem == "conv" and (self.patch_size < 2 or self.patch_size & (self.patch_size - 1)):
            powers = [2**power for power in range(1, 9)]
            nearest_power = min(powers, key=lambda size: abs(size - self.patch_size))
            yield f'stem="conv" halves the image, so patch_size is a power of two: the nearest to {self.patch_size} is {nearest_power}'
        elif self.stem == "conv" and self.hidden_dim % (self.patch_size // 2):
            nearest_dim = _nearest_multiple(self.hidden_dim, self.patch_size // 2)
            yield f'stem="conv" with patch_size={self.patch_size} needs a hidden_dim divisible by {self.patch_size // 2}: the nearest is {nearest_dim}'
        for name in ("pixel_mean", "pixel_std"):
            if len(getattr(self, name)) not in (1, self.channels):
                yield f"{name} has {len(getattr(self, name))} values for channels={self.channels}: give one, or one a channel"
        if min(self.pixel_std) <= 0:
            yield f"pixel_std={self.pixel_std} has a value that is not positive"
        if self.remat == "block" and (self.dropout_rate or self.attention_dropout_rate):
            yield (
                'remat="block" computes a block twice, and dropout would differ the second time: '
                "set dropout_rate=0 and attention_dropout_rate=0 (stochastic_depth_rate may stay)"
            )

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches an image."""
        rows, columns = self.grid_size
        return rows * columns

    @property
    def num_tokens(self) -> int:
        """Tokens an image: the patches and the class token."""
        return self.num_patches + self.class_token

    @property
    def feature_dim(self) -> int:
        """Width of what the head sees."""
        return self.hidden_dim * (2 if self.pooling == "token_and_mean" else 1)

    def _stem_widths(self) -> list[int]:
        """Channels after each convolution of the stem: doubling, up to `hidden_dim`."""
        if self.stem == "patch":
            return []
        halvings = self.patch_size.bit_length() - 1
        return [self.hidden_dim >> (halvings - 1 - index) for index in range(halvings)]

    @property
    def patch_dim(self) -> int:
        """Numbers in a patch before its projection."""
        return self.hidden_dim if self.stem == "conv" else self.channels * self.patch_size**2

    @property
    def num_params(self) -> int:
        """Weights without a head, those that stay fixed (sincos positions) not counted."""
        dim, mlp = self.hidden_dim, self.mlp_dim
        scales = 2 * dim if self.layer_scale is not None else 0
        widths = [self.channels, *self._stem_widths()]
        stem = sum(9 * before * after + 2 * after for before, after in pairwise(widths))
        embed = (self.patch_dim + 1) * dim + self.class_token * dim
        positions = self.num_tokens * dim if self.position_embedding == "learned" else 0
        attention = 4 * (dim * dim + dim)
        block_mlp = dim * mlp + mlp + mlp * dim + dim
        norm = 2 * dim
        pool = dim + attention + block_mlp + norm if self.pooling == "map" else 0
        return stem + embed + positions + self.num_layers * (attention + block_mlp + 2 * norm + scales) + norm + pool

    @property
    def num_macs(self) -> int:
        """MACs of one image's forward pass without a head: matrix products and convolutions, the attention's included."""
        dim, tokens, mlp = self.hidden_dim, self.num_tokens, self.mlp_dim
        height, width = self.image_size
        widths = [self.channels, *self._stem_widths()]
        stem = sum(
            9 * before * after * (height >> index) * (width >> index)
            for index, (before, after) in enumerate(pairwise(widths), start=1)
        )
        embed = self.num_patches * self.patch_dim * dim
        block = tokens * (4 * dim * dim + 2 * dim * mlp) + 2 * tokens * tokens * dim
        pool = (
            (2 * tokens * dim * dim + 2 * dim * dim + 2 * tokens * dim + 2 * dim * mlp) if self.pooling == "map" else 0
        )
        return stem + embed + self.num_layers * block + pool

    def activation_bytes(self, bytes_per_number: int = 4) -> int:
        """Returns the bytes of one image's activations that training keeps for the backward pass.

        Counted in each block: the input of every matrix product, norm and activation, and the attention weights, which the
        TensorFlow backend keeps; flash attention does not. With `remat="block"`, one block and every block's input.

        Args:
            bytes_per_number: 4 for float32, 2 for bfloat16 and float16.
        """
        dim, tokens = self.hidden_dim, self.num_tokens
        inside = tokens * (8 * dim + 2 * self.mlp_dim) + self.num_heads * tokens * tokens
        kept = tokens * dim + inside if self.remat == "none" else tokens * dim
        blocks = self.num_layers * kept + (inside if self.remat == "block" else 0)
        height, width = self.image_size
        embed = height * width * self.channels + self.num_patches * self.patch_dim + 2 * tokens * dim
        return (embed + blocks) * bytes_per_number

    def replace(self, **changes: Any) -> "ViTConfig":
        """Returns a copy with these fields changed."""
        check_fields(changes, partial=True)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Returns every field as JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ViTConfig":
        """Returns the config that `to_dict` wrote; unknown and missing fields are refused by name."""
        return cls(**values)


def check_fields(values: Mapping[str, Any], *, partial: bool = False) -> None:
    """Raises `InvalidArgumentError` for names that are no fields of `ViTConfig`, and for missing ones unless `partial`."""
    known = {field.name: field.default is MISSING for field in fields(ViTConfig)}
    problems = []
    for name in values:
        if name not in known:
            hint = closest(name, list(known), count=1)
            problems.append(f"there is no field {name!r}" + (f" (did you mean {hint[0]!r}?)" if hint else ""))
    missing = [name for name, required in known.items() if required and name not in values]
    if missing and not partial:
        problems.append(f"{missing} must be given")
    if problems:
        raise InvalidArgumentError(f"This ViT can't be built: {'; '.join(problems)}. A ViTConfig has {sorted(known)}.")


def is_number(value: object) -> TypeGuard[float]:
    """True for a finite int or float that is no truth value.

    Args:
        value: Anything.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_tuple_of(values: object, kind: Any) -> bool:
    return (
        isinstance(values, tuple)
        and bool(values)
        and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
    )


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _nearest_multiple(number: int, of: int, *, largest: int = sys.maxsize) -> int:
    return max(of, of * min(round(number / of), largest // of))
