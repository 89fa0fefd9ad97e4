"""The arguments `devices` and `distribution` of runs; imports no backend."""

from typing import Any, Literal

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words

DISTRIBUTIONS = ("data", "fsdp", "none")
"""How devices share a run: each has all weights, each has a part of them, or one device does everything."""
Distribution = Literal["data", "fsdp", "none"]


def check_devices(devices: Any, distribution: str) -> None:
    """Raises `InvalidArgumentError` for values that are never legal."""
    if devices != "auto" and (type(devices) is not int or devices < 1):
        raise InvalidArgumentError(f'devices must be "auto" or a number of at least 1, got {devices!r}.')
    if distribution not in DISTRIBUTIONS:
        raise InvalidArgumentError(f"distribution must be one of {list_words(DISTRIBUTIONS)}, got {distribution!r}.")
