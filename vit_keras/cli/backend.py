"""Starts Keras for a command: quietly, and with a cache of the programs that JAX compiles."""

import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from vit_keras.runtime.cpu import instruction_sets


def start_backend(*, debug: bool, quiet: bool = False) -> None:
    """Imports Keras and lets the backend find its devices; `debug` shows what the backend logs while it starts."""
    cache_compiled_programs()
    with nullcontext() if debug else silence_stderr():
        import keras

        from vit_keras.runtime.devices import devices

        devices()
        keras.ops.zeros(())


def cache_compiled_programs() -> None:
    """Sets JAX's cache of compiled programs, for this process and those it starts, to a folder beside the downloads.

    A program for a CPU uses the instructions of that CPU, so each set of instructions has its own folder. JAX's own variables win.
    """
    from vit_keras.runtime.cache import cache_folder

    kind = " ".join(sorted(instruction_sets())) or platform.processor()
    folder = cache_folder() / "compiled" / hashlib.sha256(kind.encode()).hexdigest()[:12]
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discards what Python and C libraries write to stderr inside the block."""
    sys.stderr.flush()
    saved, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(devnull)
