"""What the command line writes: results to stdout, progress and complaints to stderr."""

import json
import os
import sys
import traceback as tracebacks
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def complain(message: str, *, traceback: bool = False) -> None:
    """Writes what went wrong, after the traceback where it is asked for.

    Args:
        message: What, where, and the way out.
        traceback: Shows the error being handled too.
    """
    if traceback:
        err.print(tracebacks.format_exc())
    err.print(message)


def print_json(value: Any) -> None:
    """Writes one JSON object to stdout.

    Args:
        value: What JSON can hold.
    """
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


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
