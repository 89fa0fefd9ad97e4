"""A pool of processes that decode and augment training images: threads of one Python process would wait for each other."""

import atexit
import contextlib
import functools
import os
import queue
from typing import Any

import numpy as np

from vit_keras.runtime.worker_process import WorkerProcess

_MOST_PROCESSES = 16


class DecoderPool:
    """Processes that take turns with requests."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(_start())

    def ask(self, request: dict[str, Any], shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, str]]:
        """Returns the images of a request, and the reason for each that failed, by its index in the request.

        A process that ended is replaced and asked once more; if that ends, too, every image has failed.
        """
        decoder = self._idle.get()
        try:
            for _ in range(2):
                try:
                    decoder.send(request)
                    failed, pixels = decoder.receive()
                    return np.frombuffer(pixels, "uint8").reshape(shape), failed
                except (OSError, ValueError):
                    decoder.kill()
                    decoder = _start()
            return np.zeros(shape, "uint8"), dict.fromkeys(map(str, range(shape[0])), "the decoder crashed")
        finally:
            self._idle.put(decoder)

    def end(self) -> None:
        """Ends the idle processes."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().kill()


@functools.cache
def decoder_pool() -> DecoderPool:
    """Returns this process's pool, one decoder per core; started when first needed, ended with the process."""
    pool = DecoderPool(min(os.cpu_count() or 1, _MOST_PROCESSES))
    atexit.register(pool.end)
    return pool


def _start() -> WorkerProcess:
    return WorkerProcess("vit_keras.data.dataset.pool_worker")
