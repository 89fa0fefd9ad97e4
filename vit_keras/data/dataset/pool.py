"""Processes that make training images from files, since threads of one Python would wait for each other."""

import atexit
import contextlib
import functools
import json
import os
import queue
import subprocess
import sys
from typing import IO, Any

import numpy as np

from vit_keras.errors import StorageError
from vit_keras.runtime.processes import start_module

_MOST = 16
_PIPE = 2**20  # bytes that may wait in a pipe, where the system lets one choose


class Decoder:
    """One such process."""

    def __init__(self) -> None:
        self._process = start_module("vit_keras.data.dataset.pool_worker", text=False)
        if sys.platform == "linux":
            import fcntl

            with contextlib.suppress(OSError):
                fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _PIPE)

    @property
    def _out(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise StorageError("The process that decodes images has no pipe.")
        return self._process.stdout

    def ask(self, request: dict[str, Any], shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, str]]:
        """Returns the images of a request, and why some could not be made, by place.

        Args:
            request: As `vit_keras.data.dataset.pool_worker.answer` takes it.
            shape: Of the images.

        Raises:
            OSError: The process has ended.
        """
        if self._process.stdin is None:
            raise StorageError("The process that decodes images has no pipe.")
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        failed = json.loads(self._read(bytearray(int.from_bytes(self._read(bytearray(8)), "little"))))
        images = np.empty(shape, "uint8")
        self._read(images.reshape(-1).data)
        return images, failed

    def _read(self, buffer: Any) -> Any:
        if self._out.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
            raise BrokenPipeError("the process that decodes images has ended")
        return buffer

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired, OSError, ValueError):
            self._process.communicate(timeout=5)


class Crew:
    """Decoders that take turns with requests.

    Args:
        count: Processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(Decoder())

    def ask(self, request: dict[str, Any], shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, str]]:
        """Returns what the next idle decoder answers; all places are failed where its process ended twice.

        Args:
            request: As `vit_keras.data.dataset.pool_worker.answer` takes it.
            shape: Of the images.
        """
        decoder = self._idle.get()
        try:
            for _ in range(2):
                try:
                    return decoder.ask(request, shape)
                except (OSError, ValueError):
                    decoder.end()
                    decoder = Decoder()
            return np.zeros(shape, "uint8"), dict.fromkeys(map(str, range(shape[0])), "the decoder crashed")
        finally:
            self._idle.put(decoder)

    def end(self) -> None:
        """Ends the idle processes."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().end()


@functools.cache
def crew() -> Crew:
    """Returns this process's crew, a decoder a core; started when first needed, ended with the process."""
    hired = Crew(min(os.cpu_count() or 1, _MOST))
    atexit.register(hired.end)
    return hired
