"""Keeps the notes that TensorFlow, XLA and CUDA write to stderr from the terminal; their errors and crash messages still appear.

Native code writes to file descriptor 2 itself. A small process reads what is written there, drops the notes, and passes the rest on; it
is a process and not a thread, so that the last words of a crash are not lost. It runs this file, with nothing of the package imported.
"""

import atexit
import contextlib
import os
import re
import select
import subprocess
import sys

_LOG = rb"(?:[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] |\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] )"
_HARMLESS = (  # errors by their level alone: what a machine without a GPU has at each start, and a slower way that is taken
    rb"failed call to cuInit",
    rb"Unable to register cu\w+ factory",
    rb"computation placer already registered",
    rb"oneDNN supports \S+ only on platforms with",
)
_NOTE = re.compile(
    rb"^(?:"
    + _LOG
    + rb"|WARNING: All log messages before absl|To enable the following instructions:|.*(?:"
    + b"|".join(_HARMLESS)
    + rb"))"
)
_PATIENCE = 0.2  # s, after which an incomplete line is passed on, in case it is a question
_FAREWELL = 2.0  # s, for what is still in the pipe when the program ends


def filter_stderr() -> None:
    """Starts to filter file descriptor 2 until the program ends; Python's own `sys.stderr` goes to the terminal directly."""
    sys.stderr.flush()
    terminal = os.dup(2)
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=pipe,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            start_new_session=True,  # Ctrl-C is for the program
        )
    os.dup2(write, 2)
    os.close(write)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    atexit.register(_end, process, terminal)


def _end(process: "subprocess.Popen[bytes]", terminal: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
        os.dup2(terminal, 2)
    with contextlib.suppress(subprocess.TimeoutExpired):  # a process that outlives this one still has the pipe
        process.wait(_FAREWELL)


def copy_without_notes(source: int, target: int) -> None:
    """Copies lines from one file descriptor to another until the end, without the notes."""
    waiting = b""
    while True:
        if waiting and not select.select([source], [], [], _PATIENCE)[0]:
            os.write(target, waiting)
            waiting = b""
        read = os.read(source, 65536)
        *lines, waiting = (waiting + read).split(b"\n")
        kept = b"".join(line + b"\n" for line in lines if not _NOTE.match(line))
        if not read:
            kept += b"" if _NOTE.match(waiting) else waiting
        if kept:
            os.write(target, kept)
        if not read:
            return


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        copy_without_notes(0, 2)
