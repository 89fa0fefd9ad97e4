"""A pool of processes that decode images: threads of one Python process would wait for each other, and a hostile file could end it."""

import atexit
import contextlib
import functools
import os
import queue
from typing import Any

import numpy as np

from vit_keras.runtime.worker_process import WorkerProcess

_MOST_PROCESSES = 16
_TRAINING = "vit_keras.data.dataset.pool_worker"


class DecoderPool:
    """Processes that take turns with requests.

    Args:
        count: Number of processes.
        module: What they run: it answers each request with the reasons of failures and the images' bytes.
        timeout: Seconds after which a process that has not answered is replaced; None for no limit.
    """

    def __init__(self, count: int, *, module: str = _TRAINING, timeout: float | None = None) -> None:
        self.count = count
        self._module, self._timeout = module, timeout
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(WorkerProcess(module))

    def ask(
        self, request: dict[str, Any], shape: tuple[int, ...], *, payload: bytes = b""
    ) -> tuple[np.ndarray, dict[str, str]]:
        """Returns the images of a request, and the reason for each that failed, by its index in the request.

        A process that ended is replaced and asked once more; if that ends, too, or one takes too long, every image has failed.
        """
        decoder, reason = self._idle.get(), "the decoder crashed"
        try:
            for _ in range(2):
                try:
                    decoder.send(request, payload)
                    failed, pixels = decoder.receive(self._timeout)
                    return np.frombuffer(pixels, "uint8").reshape(shape), failed
                except (OSError, ValueError) as error:
                    decoder.kill()
                    decoder = WorkerProcess(self._module)
                    if isinstance(error, TimeoutError):
                        reason = f"decoding took longer than {self._timeout:g} seconds"
                        break
            return np.zeros(shape, "uint8"), dict.fromkeys(map(str, range(shape[0])), reason)
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
