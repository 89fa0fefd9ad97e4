"""Which number format trains fastest here."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.runtime.cpu import instruction_sets
from vit_keras.runtime.devices import has_accelerator

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def resolve(precision: str) -> str:
    """Returns the dtype policy that a word means: "auto" is bfloat16 where the processor multiplies it, else float32.

    Args:
        precision: One of `PRECISIONS`.

    Raises:
        InvalidArgumentError: It is none of them.
    """
    if precision not in PRECISIONS:
        raise InvalidArgumentError(f"precision={precision!r} is none of {list(PRECISIONS)}.")
    if precision != "auto":
        return precision
    return "mixed_bfloat16" if _multiplies_bfloat16() else "float32"


def _multiplies_bfloat16() -> bool:
    """True on a GPU or TPU, and for a CPU on TensorFlow whose flags say so; elsewhere CPUs emulate it slowly."""
    if has_accelerator():
        return True
    return keras.backend.backend() == "tensorflow" and not instruction_sets().isdisjoint({"avx512_bf16", "amx_bf16"})


@contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Builds layers with this policy inside the block, and puts back the one before.

    Args:
        policy: A dtype policy's name.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
