"""The images that a command is given: paths, or a list of them on stdin."""

import sys
from collections.abc import Sequence
from pathlib import Path

from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.image_lists import read_lines

STDIN = "-"


def read_images(words: Sequence[str]) -> list[str | Path]:
    """Returns the paths of the images, with those on stdin in place of `-`."""
    found: list[str | Path] = []
    for word in words:
        if word == STDIN:
            found += _read_stdin()
        else:
            found.append(word)
    return found


def _read_stdin() -> list[Path]:
    if sys.stdin.isatty():
        raise InvalidArgumentError(
            "- reads paths from stdin, which is a terminal: pipe them in, as in `ls *.jpg | vit-keras predict RUN -`."
        )
    paths = read_lines(sys.stdin.buffer.read().decode(sys.getfilesystemencoding(), "surrogateescape"))
    if not paths:
        raise InvalidArgumentError("- reads paths from stdin, and there were none.")
    return paths
