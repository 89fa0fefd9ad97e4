"""Numeric precision: dtype policies."""

from collections.abc import Iterator
from contextlib import contextmanager

from vit_keras.errors import InvalidArgumentError
from vit_keras.runtime.cpu import instruction_sets

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def resolve(precision: str) -> str:
    """Returns the dtype policy of one of `PRECISIONS`; "auto" is mixed_bfloat16 where the hardware multiplies bfloat16, else float32."""
    if precision not in PRECISIONS:
        raise InvalidArgumentError(f"precision={precision!r} is not one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    import keras

    from vit_keras.runtime.devices import has_accelerator

    # CPUs emulate bfloat16 slowly, but for TensorFlow on those with the instructions.
    has_instructions = not instruction_sets().isdisjoint({"avx512_bf16", "amx_bf16"})
    is_fast = has_accelerator() or (keras.backend.backend() == "tensorflow" and has_instructions)
    return "mixed_bfloat16" if is_fast else "float32"


@contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Sets the global dtype policy inside a `with` block."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
