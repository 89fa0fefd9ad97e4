"""What the command line writes: results to stdout, progress and complaints to stderr."""

import json
import os
import sys
import traceback as tracebacks
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from vit_keras.errors import InvalidArgumentError


class QuietlyClosed(Console):
    """A console whose reader may leave: `vit-keras list | head` is no error."""

    def on_broken_pipe(self) -> None:
        """Ends the program, the rest unwritten."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


out = QuietlyClosed(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def at_least(columns: int) -> Console:
    """Returns stdout, wider than the terminal where that is narrower.

    Args:
        columns: How wide.
    """
    return QuietlyClosed(width=max(out.width, columns), highlight=False, soft_wrap=True, markup=False)


def complain(message: str, *, traceback: bool = False) -> None:
    """Writes what went wrong, after the traceback where it is asked for.

    Args:
        message: What, where, and the way out.
        traceback: Shows the error being handled too.
    """
    if traceback:
        err.print(printable(tracebacks.format_exc()))
    err.print(printable(message))


def printable(text: str) -> str:
    r"""Returns a text that any terminal takes: bytes of file names that are no text become \udc...

    Args:
        text: Perhaps with a file's name in it.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def print_json(value: Any) -> None:
    """Writes one JSON object to stdout.

    Args:
        value: What JSON can hold.
    """
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Throws away what is written to stderr inside the block, by Python or by a C library."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def fields_of(words: Sequence[str]) -> dict[str, Any]:
    """Returns what words such as "learning_rate=3e-4" say: values as JSON has them, or else as they stand.

    Args:
        words: What was typed.

    Raises:
        InvalidArgumentError: One has no "=".

    Example:
        >>> fields_of(["learning_rate=3e-4", "optimizer=sgd", "patience=null"])
        {'learning_rate': 0.0003, 'optimizer': 'sgd', 'patience': None}
    """
    fields = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidArgumentError(f"--set {word}: expected FIELD=VALUE, such as learning_rate=3e-4.")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields
