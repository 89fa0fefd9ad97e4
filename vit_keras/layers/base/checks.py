"""What layers refuse, said the same way in each of them."""

from typing import Any, TypeAlias

from vit_keras.errors import InvalidArgumentError

Tensor: TypeAlias = Any
"""A tensor of whichever backend Keras runs on."""
Shape: TypeAlias = tuple[int | None, ...]


def check_positive(layer: str, **numbers: int) -> None:
    """Raises `InvalidArgumentError` for numbers that are not positive whole ones."""
    wrong = {name: value for name, value in numbers.items() if type(value) is not int or value < 1}
    if wrong:
        listed = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise InvalidArgumentError(f"{layer} needs positive whole numbers, not {listed}.")


def check_fractions(layer: str, **rates: float) -> None:
    """Raises `InvalidArgumentError` for rates outside [0, 1)."""
    wrong = {name: rate for name, rate in rates.items() if isinstance(rate, bool) or not 0 <= rate < 1}
    if wrong:
        listed = ", ".join(f"{name}={rate!r}" for name, rate in wrong.items())
        raise InvalidArgumentError(f"{layer} needs fractions in [0, 1), not {listed}.")


def check_choice(layer: str, *, choices: tuple[str, ...], **values: str) -> None:
    """Raises `InvalidArgumentError` for a value that is none of the choices."""
    wrong = {name: value for name, value in values.items() if value not in choices}
    if wrong:
        listed = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise InvalidArgumentError(f"{layer} does not know {listed}; choose one of {list(choices)}.")


def check_images(layer: str, shape: Shape) -> tuple[int, int, int]:
    """Returns height, width and channels, or raises `InvalidArgumentError` where one is not known."""
    if len(shape) != 4 or None in shape[1:]:
        raise InvalidArgumentError(
            f"{layer} takes images of shape (batch, height, width, channels), all but batch known; it got {shape}."
        )
    return tuple(shape[1:])  # type: ignore[return-value]


def check_tokens(layer: str, shape: Shape, *, num_heads: int = 1) -> tuple[int, int]:
    """Returns the number of tokens and their width, or raises `InvalidArgumentError` where they do not fit the layer."""
    if len(shape) != 3 or None in shape[1:]:
        raise InvalidArgumentError(
            f"{layer} takes tokens of shape (batch, tokens, hidden_dim), all but batch known; it got {shape}."
        )
    _, tokens, hidden_dim = shape
    if hidden_dim % num_heads:  # type: ignore[operator]
        raise InvalidArgumentError(
            f"{layer} has num_heads={num_heads}, which does not divide the tokens' width of {hidden_dim}."
        )
    return tokens, hidden_dim  # type: ignore[return-value]


def check_heads(layer: str, shape: Shape) -> tuple[int, int, int]:
    """Returns tokens, heads and a head's width, or raises `InvalidArgumentError` where one is not known."""
    if len(shape) != 4 or None in shape[1:]:
        raise InvalidArgumentError(
            f"{layer} takes heads of shape (batch, tokens, num_heads, head_dim), all but batch known; it got {shape}."
        )
    return tuple(shape[1:])  # type: ignore[return-value]
