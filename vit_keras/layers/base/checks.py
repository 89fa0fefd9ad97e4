"""Checks of arguments and input shapes that several layers share."""

import math
from typing import Any, TypeAlias

from vit_keras.errors import InvalidArgumentError
from vit_keras.packed_sizes import NUM_INDICES
from vit_keras.validation import list_words

Tensor: TypeAlias = Any
"""A tensor of the active backend."""
Shape: TypeAlias = tuple[int | None, ...]


def check_positive(layer: str, **numbers: int) -> None:
    """Raises `InvalidArgumentError` for values that are not positive integers."""
    wrong = {name: value for name, value in numbers.items() if type(value) is not int or value < 1}
    if wrong:
        raise InvalidArgumentError(f"{layer} needs positive integers, not {_list(wrong)}.")


def check_fractions(layer: str, **rates: float) -> None:
    """Raises `InvalidArgumentError` for rates outside [0, 1)."""
    wrong = {name: rate for name, rate in rates.items() if isinstance(rate, bool) or not 0 <= rate < 1}
    if wrong:
        raise InvalidArgumentError(f"{layer} needs fractions in [0, 1), not {_list(wrong)}.")


def check_choice(layer: str, *, choices: tuple[Any, ...], **values: Any) -> None:
    """Raises `InvalidArgumentError` for values that are not among the choices."""
    wrong = {name: value for name, value in values.items() if value not in choices}
    if wrong:
        raise InvalidArgumentError(f"{layer} does not know {_list(wrong)}; choose one of {list_words(choices)}.")


def check_images(layer: str, shape: Shape) -> tuple[int, int, int]:
    """Returns height, width and channels, or raises `InvalidArgumentError` where one of them is unknown."""
    _check_shape(layer, "images", "(batch, height, width, channels)", shape)
    return tuple(shape[1:])  # type: ignore[return-value]


def check_divisible(layer: str, height: int, width: int, patch_size: int) -> None:
    """Raises `InvalidArgumentError` for images whose sides are not multiples of the patch size (all in px)."""
    if height % patch_size or width % patch_size:
        raise InvalidArgumentError(
            f"{layer}: images of {height}x{width} px can't be cut into patches of {patch_size} px. Resize them to a multiple of "
            f"{patch_size}, or choose another patch_size."
        )


def check_tokens(layer: str, shape: Shape, *, num_heads: int = 1) -> tuple[int | None, int]:
    """Returns the number of tokens, None if unknown, and their width, or raises `InvalidArgumentError` where they don't fit the layer."""
    _check_shape(layer, "tokens", "(batch, tokens, hidden_dim)", shape, unknown=1)
    _, tokens, hidden_dim = shape
    if hidden_dim % num_heads:  # type: ignore[operator]
        raise InvalidArgumentError(
            f"{layer} has num_heads={num_heads}, which does not divide the tokens' width of {hidden_dim}."
        )
    return tokens, hidden_dim  # type: ignore[return-value]


def check_heads(layer: str, shape: Shape) -> tuple[int | None, int, int]:
    """Returns the number of tokens, None if unknown, that of heads and the head's width; raises `InvalidArgumentError` for other shapes."""
    _check_shape(layer, "heads", "(batch, tokens, num_heads, head_dim)", shape, unknown=1)
    return tuple(shape[1:])  # type: ignore[return-value]


def check_any_images(layer: str, shape: Shape) -> None:
    """Raises `InvalidArgumentError` for a shape that is not of images; height and width may be unknown."""
    _check_shape(layer, "images", "(batch, height, width, channels)", shape, unknown=2)


def check_packed(layer: str, shape: Shape) -> None:
    """Raises `InvalidArgumentError` for a shape that is not of packed images."""
    _check_shape(layer, "packed images", "(batch, patches, 2 + patch_size * patch_size, channels)", shape)
    pixels = shape[2] - NUM_INDICES  # type: ignore[operator]
    if pixels < 1 or math.isqrt(pixels) ** 2 != pixels:
        raise InvalidArgumentError(
            f"{layer} takes packed images of shape (batch, patches, 2 + patch_size * patch_size, channels); it got {shape}. "
            "vk.data.preprocess_images makes them."
        )


def check_grid(layer: str, shape: Shape) -> None:
    """Raises `InvalidArgumentError` for a shape that is not of a grid of patches; rows and columns may be unknown."""
    _check_shape(layer, "patches", "(batch, rows, columns, patch_dim)", shape, unknown=2)


def _check_shape(layer: str, what: str, expected: str, shape: Shape, *, unknown: int = 0) -> None:
    """`unknown` is the number of dimensions after the batch that may be None."""
    names = expected.strip("()").split(", ")
    if len(shape) != len(names) or None in shape[1 + unknown :]:
        known = f"with known {' and '.join(names[1 + unknown :])}" if unknown else "all but batch known"
        raise InvalidArgumentError(f"{layer} takes {what} of shape {expected}, {known}; it got {shape}.")


def _list(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
