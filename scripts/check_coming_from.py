"""Runs the pairs of snippets in docs/coming_from.md, and compares what they compute.

    python scripts/check_coming_from.py [LIBRARY ...] [--peers PYTHON ...]

The first snippet of a pair runs in the first of these interpreters that has the library, the second in this one; both in the same empty folder.
Each finds `pixels`, uint8 of shape (2, 224, 224, 3), and leaves `outputs`. Prints the version of the library and the largest difference;
exits with 1 where it is larger than 1e-3 of the largest output, or a snippet fails.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coming_from.md"
LIMIT = 1e-3
DISTRIBUTIONS = {"KerasHub": "keras-hub"}  # where it is not the title
_PAIR = re.compile(r'<div class="pair">.*?```py\n(.*?)```.*?```py\n(.*?)```', re.DOTALL)
_BEFORE = "import numpy\npixels = numpy.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype('uint8')\n"
_AFTER = "\nnumpy.save({!r}, numpy.asarray(outputs))\n"


def read_pairs(page: str) -> dict[str, tuple[str, str]]:
    """Returns the two snippets of each library that has a pair."""
    sections = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    found = {title: _PAIR.search(text) for title, text in zip(sections[::2], sections[1::2], strict=True)}
    return {title: (match[1], match[2]) for title, match in found.items() if match}


def find_version(python: str, library: str) -> str | None:
    """Returns the version of a library that an interpreter has, or None."""
    code = f"import importlib.metadata as m; print(m.version({DISTRIBUTIONS.get(library, library)!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def run_pair(pair: tuple[str, str], python: str) -> float:
    """Returns the largest difference of the outputs of a pair, relative to the largest output.

    Raises:
        RuntimeError: A snippet failed, or the outputs have different shapes.
    """
    theirs, ours = pair
    with tempfile.TemporaryDirectory() as folder:
        _run(theirs, python, folder, "theirs.npy", {})
        _run(ours, sys.executable, folder, "ours.npy", {"PYTHONPATH": str(ROOT)})
        expected, got = (np.load(Path(folder, name)) for name in ("theirs.npy", "ours.npy"))
    if expected.shape != got.shape or not np.abs(expected).max() > 0:
        raise RuntimeError(f"outputs of shapes {expected.shape} and {got.shape}")
    return float(np.abs(expected - got).max() / np.abs(expected).max())


def _run(code: str, python: str, folder: str, out: str, environment: dict[str, str]) -> None:
    """Runs a snippet in a process of its own."""
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    program = _BEFORE + code + _AFTER.format(out)
    done = subprocess.run(
        [python, "-c", program], cwd=folder, env=outside | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        )


def main(libraries: Sequence[str], peers: Sequence[str]) -> int:
    """Runs the pairs; returns 1 if one fails."""
    pairs = read_pairs(PAGE.read_text("utf-8"))
    code = 0
    for library in libraries or pairs:
        versions = {python: found for python in (*peers, sys.executable) if (found := find_version(python, library))}
        if not versions:
            print(f"{library}: not installed, not run")
            continue
        python, version = next(iter(versions.items()))
        try:
            difference = run_pair(pairs[library], python)
        except RuntimeError as error:
            print(f"{library} {version}: {error}")
            code = 1
            continue
        print(f"{library} {version}: largest difference {difference:.1e}")
        code |= difference > LIMIT
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY")
    parser.add_argument("--peers", nargs="*", default=(), metavar="PYTHON")
    arguments = parser.parse_args()
    sys.exit(main(arguments.libraries, arguments.peers))
