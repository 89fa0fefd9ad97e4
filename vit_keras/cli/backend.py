"""Starts Keras for a command: says so, keeps notes of native code from stderr, and sets JAX's cache of compiled programs."""

import atexit
import contextlib
import hashlib
import logging
import os
import platform
import sys
import threading
from collections.abc import Iterator

from vit_keras.cli.native_stderr import filter_stderr
from vit_keras.cli.output import err
from vit_keras.distributed.cluster import is_joined, leave
from vit_keras.runtime.cpu import instruction_sets

_LIBRARIES = ("tensorflow", "absl", "jax")  # with a logger


class Process:
    """What `main` knows about the process it runs in."""

    is_own = False
    """Whether the process was started for one command, so that its stderr may be redirected."""
    announces = False
    """Whether waits are announced: not with --quiet, nor where Keras runs already."""


def start_backend(*, debug: bool, trains: bool = False, joins: bool = False) -> None:
    """Imports Keras and lets the backend find its devices; `debug` shows what libraries log.

    With `trains`, operations of TensorFlow share the cores as is fastest for training. With `joins`, it first joins the other
    processes that a launcher started.
    """
    name = os.environ.get("KERAS_BACKEND")
    announce(f"starting Keras on {name}" if name else "starting Keras")
    cache_compiled_programs()
    if debug:
        _start(trains, joins)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)
    if Process.is_own and sys.platform != "win32" and "keras" not in sys.modules:
        filter_stderr()
        _start(trains, joins)
    else:
        with silence_stderr():
            _start(trains, joins)


def announce(text: str) -> None:
    """Writes what the program does next, and may take some seconds, to stderr."""
    if Process.announces:
        err.print(f"{text} ...", markup=False)


def _start(trains: bool, joins: bool) -> None:
    import keras

    from vit_keras.distributed.join_launch import join_launch
    from vit_keras.runtime.devices import devices
    from vit_keras.runtime.tensorflow_threads import prefer_parallel_operations

    if trains:
        prefer_parallel_operations()
    if joins:
        join_launch()
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


@contextlib.contextmanager
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


def leave_quickly(code: int) -> None:
    """Ends the process without the seconds that a backend takes to unload; returns where there is none, or where threads still work."""
    waited_for = [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    if code and "keras" in sys.modules and is_joined():
        leave(code)  # JAX would wait for the others
    if "keras" not in sys.modules or waited_for:
        return
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
