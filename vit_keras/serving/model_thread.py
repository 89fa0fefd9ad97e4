"""One thread that runs the model: images that wait go through it together."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

SIZES = (1, 4, 16)
"""Batch sizes: each is compiled once. Of more images that wait, as many as the largest size has go first; nothing is padded."""


class ModelThread:
    """A thread that runs a model on the images that wait, in their order.

    Args:
        predict: Maps images `(batch, height, width, channels)` to outputs `(batch, ...)`.
    """

    def __init__(self, predict: Callable[[np.ndarray], np.ndarray]) -> None:
        self._predict = predict
        self._waiting: deque[tuple[np.ndarray | Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, image: np.ndarray) -> "Future[np.ndarray]":
        """Returns the future outputs of the model for an image `(height, width, channels)`."""
        return self._put(image)

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Returns the future result of a function that uses the model."""
        return self._put(function)

    def end(self) -> None:
        """Ends the thread after what waits is done."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _put(self, work: np.ndarray | Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        with self._changed:
            if self._ended:
                raise RuntimeError("the model thread has ended")
            self._waiting.append((work, future))
            self._changed.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    return
                taken = [self._waiting.popleft() for _ in range(self._count())]
            wanted = [each for each in taken if each[1].set_running_or_notify_cancel()]
            if not wanted:
                continue
            works, futures = zip(*wanted, strict=True)
            try:
                results = [works[0]()] if callable(works[0]) else list(self._predict(np.stack(works)))
            except Exception as error:  # whatever a backend raises is the answer of these requests alone
                for future in futures:
                    future.set_exception(error)
                continue
            for future, result in zip(futures, results, strict=True):
                future.set_result(result)

    def _count(self) -> int:
        """Returns how many of the waiting go next: one function, or a batch of images."""
        images = next((place for place, (work, _) in enumerate(self._waiting) if callable(work)), len(self._waiting))
        return max((size for size in SIZES if size <= images), default=1)
