import gc
import os
import sys

import keras
import numpy as np
import pytest
from vit_keras.training.micro_batch import MicroBatch, choose_micro_batch, in_a_process, is_out_of_memory

from vit_keras.errors import InvalidArgumentError, OutOfMemoryError, ProbeError


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


class XlaRuntimeError(RuntimeError):
    """Named as JAX's."""


THEIRS = [
    ResourceExhaustedError("failed to allocate memory [Op:AddV2]"),
    XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5368709120 bytes."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    MemoryError(),
]


def limited(most, error):
    tried = []

    def try_step(size):
        tried.append(size)
        if size > most:
            raise error

    return try_step, tried


@pytest.fixture(autouse=True)
def nothing_to_free(monkeypatch):
    """In a process full of tests, collecting garbage takes seconds; one test counts that it is done."""
    collected = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(True))
    return collected


def test_what_a_step_left_is_collected_before_the_next(nothing_to_free):
    choose_micro_batch(limited(20, MemoryError())[0], 96)
    assert len(nothing_to_free) == 4


@pytest.mark.parametrize("error", THEIRS, ids=lambda error: type(error).__name__)
def test_divisors_are_tried_downwards(error):
    try_step, tried = limited(20, error)
    assert choose_micro_batch(try_step, 96) == MicroBatch(16, 6)
    assert tried == [96, 48, 32, 24, 16]


def test_a_batch_that_fits_is_left_whole():
    try_step, tried = limited(20, MemoryError())
    micro_batch = choose_micro_batch(try_step, 20)
    assert (micro_batch, tried, micro_batch.optimizer_arguments) == ((20, 1), [20], {})


def test_a_backend_s_own_error_is_known():
    if keras.backend.backend() == "tensorflow":  # which would look for the memory for ten seconds
        import tensorflow as tf

        assert is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
        return
    with pytest.raises(RuntimeError) as raised:
        keras.ops.zeros((2**20, 2**20, 2**10))  # four petabytes
    assert is_out_of_memory(raised.value), raised.value


def test_where_not_even_one_image_fits_it_is_said():
    try_step, tried = limited(0, XlaRuntimeError("RESOURCE_EXHAUSTED: 7 GiB"))
    with pytest.raises(OutOfMemoryError, match=r"one image \(XlaRuntimeError: RESOURCE_EXHAUSTED: 7 GiB\)") as raised:
        choose_micro_batch(try_step, 6)
    assert tried == [6, 3, 2, 1]
    assert isinstance(raised.value, MemoryError)
    assert raised.value.exit_code == 7


@pytest.mark.parametrize("error", [ValueError("out of memory of shapes"), RuntimeError("shapes differ")])
def test_other_errors_are_raised_as_they_are(error):
    try_step, tried = limited(0, error)
    with pytest.raises(type(error), match=str(error)):
        choose_micro_batch(try_step, 8)
    assert tried == [8]


@pytest.mark.parametrize("batch_size", [0, -4, 2.0, True])
def test_a_batch_is_a_positive_whole_number(batch_size):
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        choose_micro_batch(lambda size: None, batch_size)


ENDS = {
    "a signal": "os.kill(os.getpid(), 11)",
    "our exit code": "sys.exit(7)",
    "a shell's code": "sys.exit(137)",
    "words": "sys.exit('RESOURCE_EXHAUSTED: Out of memory')",
    "no memory": "resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28)); bytes(2**30)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_process_that_memory_ends_does_not_end_us(end):
    code = f"import os, resource, sys\nif int(sys.argv[1]) > 4:\n    resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {end}"
    assert choose_micro_batch(in_a_process([sys.executable, "-c", code, "{micro_batch}"]), 8) == MicroBatch(4, 2)


def test_a_process_that_fails_otherwise_is_told_with_its_words():
    step = in_a_process(
        [sys.executable, "-c", "import sys; sys.exit('no such preset ' + sys.argv[1])", "x{micro_batch}"]
    )
    with pytest.raises(ProbeError, match=r"8 images failed with code 1, not for memory: no such preset x8"):
        choose_micro_batch(step, 8)
    with pytest.raises(ProbeError, match=r"over 0\.2 seconds"):
        in_a_process([sys.executable, "-c", "import time; time.sleep(60)", "{micro_batch}"], timeout=0.2)(1)
    with pytest.raises(ProbeError, match="could not be run"):
        in_a_process([os.devnull, "{micro_batch}"])(1)
    with pytest.raises(InvalidArgumentError, match="micro_batch"):
        in_a_process([sys.executable])


def test_parts_make_the_same_update_as_the_whole():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)).astype("float32"), rng.integers(0, 3, 12)
    updated = []
    for micro_batch in (MicroBatch(12, 1), MicroBatch(4, 3)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, activation="gelu"), keras.layers.Dense(3)])
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, **micro_batch.optimizer_arguments)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, batch_size=micro_batch.size, epochs=3, shuffle=False, verbose=0)
        assert int(optimizer.iterations) == 3
        updated.append(model.get_weights())
    for whole, parts in zip(*updated, strict=True):
        np.testing.assert_allclose(parts, whole, atol=1e-6)
