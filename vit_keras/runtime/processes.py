"""Starts processes of this package: with its code, without its terminal."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import vit_keras


def started(module: str, *, text: bool) -> "subprocess.Popen[Any]":
    """Returns a process that runs a module, with pipes to its stdin and from its stdout.

    Not of multiprocessing: nothing is asked of the caller's main module, nothing is forked under TensorFlow's threads.

    Args:
        module: Name of the module.
        text: Whether the pipes carry ASCII text, else bytes.
    """
    package = str(Path(vit_keras.__file__).parent.parent)
    path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH", "")) if part)
    return subprocess.Popen(
        (sys.executable, "-P", "-m", module),  # -P: no module comes from where the user stands
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="ascii" if text else None,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the parent, which ends this one
    )
