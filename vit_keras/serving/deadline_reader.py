"""Reads a socket until a deadline, however slowly the other side sends."""

import io
import socket
import time
from typing import Any


class DeadlineReader(io.RawIOBase):
    """The bytes that a socket receives. A socket's own timeout starts again with every byte."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = 0.0

    def allow(self, seconds: float) -> None:
        """Allows so many seconds from now for all that is read next."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """Returns True, as `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receives bytes into a buffer; returns their number, 0 at the end. Raises `TimeoutError` at the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the sender is too slow")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)
