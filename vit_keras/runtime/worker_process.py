"""A Python process that runs a module and exchanges messages with it.

A message is a JSON object with optional bytes after it. Nothing is pickled, so a worker that a hostile file has taken over
cannot run code in its parent. multiprocessing would import the caller's main module, or fork under TensorFlow's threads.
"""

import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vit_keras

Message = tuple[dict[str, Any], bytearray]
_HEADER = struct.Struct("<QQ")  # bytes of the JSON object, bytes after it
_LARGEST = 2**31  # bytes of a message; a longer one is not from our code
_PIPE_SIZE = 2**20  # bytes
_END_SECONDS = 5.0


class WorkerDiedError(ConnectionError):
    """The worker process ended, or sent what is not a message."""


class WorkerProcess:
    """Starts a process that runs a module, and talks to the `ParentConnection` in it.

    It has no terminal and its own process group: Ctrl-C reaches the parent alone. It ends when its parent does. `user_code` makes
    every module importable here importable there, and leaves the number of threads to the libraries; otherwise only installed modules
    are, and there is one thread.
    """

    def __init__(self, module: str, arguments: Sequence[str] = (), *, user_code: bool = False) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", module, *arguments),  # -P: imports nothing from the current directory
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_environment(user_code)},
            start_new_session=True,
        )
        if sys.platform == "linux" and self._process.stdout is not None:
            import fcntl

            with contextlib.suppress(OSError):
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._received: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._reader = threading.Thread(
            target=_read_into_queue, args=(self._process.stdout, self._received), daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def send(self, message: Mapping[str, Any], payload: bytes = b"") -> None:
        """Sends what JSON can hold, and the bytes of `payload` after it; raises `WorkerDiedError` if the process has ended."""
        try:
            _write(self._process.stdin, message, payload)
        except (OSError, ValueError) as error:  # ValueError: `kill` closed the pipe
            raise WorkerDiedError(f"the process has ended ({error})") from error

    def receive(self, timeout: float | None = None) -> Message:
        """Waits for the next message and returns it.

        Raises `TimeoutError` if there was none within `timeout` seconds (None: no limit), `WorkerDiedError` if the process has ended.
        """
        try:
            message = self._received.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if message is None:
            self._received.put(None)  # for the next call
            raise WorkerDiedError("the process has ended")
        return message

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._process.terminate()

    def wait(self) -> int:
        """Waits for a process that is about to end and returns its exit code, negative for a signal."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """Kills the process and its children; does nothing where it has ended."""
        if self._process.returncode is None:
            if sys.platform == "win32":
                self._process.kill()
            else:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # ended, macOS says the latter
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class ParentConnection:
    """The worker's side. It takes stdin and stdout for messages, and ends the process as soon as the parent has ended.

    What is printed here is appended to the file `log`; None discards it.
    """

    def __init__(self, log: Path | None = None) -> None:
        reader, self._writer = (os.fdopen(os.dup(number), mode, 0) for number, mode in ((0, "rb"), (1, "wb")))
        output = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number in (1, 2):
            os.dup2(output, number)
        self._received: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        threading.Thread(target=_read_into_queue, args=(reader, self._received, True), daemon=True).start()

    def receive(self) -> dict[str, Any]:
        """Waits for the next message and returns it."""
        return self.receive_with_payload()[0]

    def receive_with_payload(self) -> Message:
        """Waits for the next message and returns it with the bytes after it."""
        return self._received.get() or ({}, bytearray())

    def send(self, message: Mapping[str, Any], payload: bytes | memoryview = b"") -> None:
        """Sends what JSON can hold, and the bytes of `payload` after it."""
        _write(self._writer, message, payload)


def _environment(user_code: bool) -> dict[str, str]:
    if user_code:
        return {"PYTHONPATH": os.pathsep.join(part or os.getcwd() for part in sys.path)}
    package = str(Path(vit_keras.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _write(file: Any, message: Mapping[str, Any], payload: bytes | memoryview = b"") -> None:
    content, rest = json.dumps(message).encode(), memoryview(payload).cast("B")
    for part in (_HEADER.pack(len(content), len(rest)) + content, rest):
        left = memoryview(part)
        while left:
            left = left[file.write(left) :]


def _read_into_queue(file: Any, received: "queue.SimpleQueue[Message | None]", exit_at_end: bool = False) -> None:
    """Puts each message into a queue, and None at the end; unbuffered, so that no lock is held when the interpreter ends."""
    with contextlib.suppress(EOFError, OSError, ValueError, MemoryError):
        while True:
            length, rest = _HEADER.unpack(_read(file, _HEADER.size))
            if length + rest > _LARGEST:
                break
            message = json.loads(_read(file, length))
            if not isinstance(message, dict):
                break
            received.put((message, _read(file, rest)))
    if exit_at_end:
        os._exit(0)
    received.put(None)


def _read(file: Any, count: int) -> bytearray:
    buffer = bytearray(count)
    left = memoryview(buffer)
    while left:
        done = file.readinto(left)
        if not done:
            raise EOFError
        left = left[done:]
    return buffer
