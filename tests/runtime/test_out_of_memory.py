import keras
import pytest

from vit_keras.runtime.out_of_memory import is_out_of_memory


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ResourceExhaustedError("failed to allocate memory [Op:AddV2]"), True),
        (
            type("XlaRuntimeError", (RuntimeError,), {})(
                "RESOURCE_EXHAUSTED: Out of memory allocating 5368709120 bytes."
            ),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (MemoryError(), True),
        (ValueError("out of memory of shapes"), False),
        (RuntimeError("shapes differ"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_every_backend_are_recognized(error, expected):
    assert is_out_of_memory(error) == expected


def test_the_error_of_this_backend_is_recognized():
    if keras.backend.backend() == "tensorflow":  # which would look for the memory for ten seconds
        import tensorflow as tf

        assert is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
        return
    with pytest.raises(RuntimeError) as raised:
        keras.ops.zeros((2**20, 2**20, 2**10))  # four petabytes
    assert is_out_of_memory(raised.value), raised.value
