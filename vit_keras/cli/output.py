"""What the command line prints: results to stdout, progress and errors to stderr."""

import csv
import itertools
import json
import os
import sys
import traceback as tracebacks
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vit_keras.cli.wording import name_program
from vit_keras.errors import StorageError

WIDTH = 110
"""Columns that every row of a wide table fits in."""
SOME_FAILED = 3
"""Exit code where some of the images could not be read."""


class PipeConsole(Console):
    """A console that ends the program without an error when its reader is gone, as in `vit-keras list | head`."""

    def on_broken_pipe(self) -> None:
        """Exits with 0; the rest of the output is lost."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


out = PipeConsole(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def progress_console(*, as_json: bool, quiet: bool = False) -> Console:
    """Returns the console for progress: stdout, stderr where stdout is for JSON alone, or none."""
    if quiet:
        return Console(quiet=True)
    return err if as_json else out


def print_table(table: Table, *, width: int = WIDTH) -> None:
    """Prints a table that is not cut where the terminal is narrower than `width`: a cut name can't be copied."""
    PipeConsole(width=max(out.width, width), highlight=False, soft_wrap=True, markup=False).print(table)


def print_error(message: str, *, traceback: bool = False) -> None:
    """Writes an error to stderr, below the traceback of the current exception if that is asked for."""
    if traceback:
        err.print(printable(tracebacks.format_exc()))
    err.print(printable(name_program(message)))


def printable(text: str) -> str:
    r"""Returns text that any terminal accepts: bytes of file names that are not UTF-8 become \udc..."""
    return text.encode("utf-8", "backslashreplace").decode()


def print_json(value: Any) -> None:
    """Writes a JSON value to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table to stdout as CSV with a line of headings; None becomes an empty cell."""
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def choose_output(path: Path | None, default: Path, *, option: str, overwrite: bool) -> Path:
    """Returns the file to write: the one that was named, or the first free one of `NAME`, `NAME-2`, `NAME-3`, ....

    Raises:
        StorageError: The named file exists, and is not to be replaced; or it is a directory.
    """
    if path is None:
        if overwrite:
            return default
        numbers = itertools.count(2)
        path = default
        while path.exists():
            path = default.with_stem(f"{default.stem}-{next(numbers)}")
        return path
    if path.is_dir():
        raise StorageError(f"{option} {path}: this is a directory; give the name of a file.")
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists, and nothing is overwritten: choose another {option}, or add --overwrite.")
    return path
