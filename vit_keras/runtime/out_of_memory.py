"""Recognizes the out-of-memory errors of every backend."""

_KINDS = {"MemoryError", "OutOfMemoryError", "ResourceExhaustedError"}
_WORDS = (
    "resource_exhausted", "out of memory", "out_of_memory", "can't allocate memory", "failed to allocate", "alloc_failed",
    "memoryerror",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error of any backend means that memory ran out."""
    if any(kind.__name__ in _KINDS for kind in type(error).__mro__):
        return True
    from_backend = isinstance(error, RuntimeError) or type(error).__module__.startswith(("tensorflow", "jax", "torch"))
    return from_backend and any(word in str(error).lower() for word in _WORDS)
