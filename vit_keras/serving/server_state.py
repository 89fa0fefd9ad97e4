"""What all connections of a server share: who may ask, the model, and how many requests are being answered."""

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vit_keras.serving.access import Access
from vit_keras.serving.limits import MAX_CONNECTIONS

if TYPE_CHECKING:
    from vit_keras.serving.model_service import ModelService


class ServerState:
    """The state of a server; `service` is set before the first request is answered.

    Args:
        access: Decides which requests are answered.
    """

    service: "ModelService"

    def __init__(self, access: Access) -> None:
        self.access = access
        self.is_ending = False
        self._connections, self._answering, self._changed = 0, 0, threading.Condition()

    def connect(self) -> bool:
        """Counts a connection; returns False where there are too many."""
        with self._changed:
            accepted = self._connections < MAX_CONNECTIONS
            self._connections += accepted
        return accepted

    def disconnect(self) -> None:
        """Counts the end of a connection."""
        with self._changed:
            self._connections -= 1

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Counts a request that is being answered, for which `end` waits."""
        with self._changed:
            self._answering += 1
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()

    def end(self, seconds: float) -> None:
        """Lets no more requests be answered, and waits until none is, but not longer than so many seconds."""
        self.is_ending = True
        with self._changed:
            self._changed.wait_for(lambda: not self._answering, seconds)
