"""Starts worker processes of this package."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import vit_keras


def start_module(module: str, *, text: bool) -> "subprocess.Popen[Any]":
    """Starts a process that runs a module, with pipes to its stdin and from its stdout.

    Unlike multiprocessing, this neither imports the caller's main module nor forks under TensorFlow's threads.

    Args:
        module: Name of the module.
        text: Whether the pipes carry ASCII text, else bytes.
    """
    package = str(Path(vit_keras.__file__).parent.parent)
    path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH", "")) if part)
    return subprocess.Popen(
        (sys.executable, "-P", "-m", module),  # -P: never import from the current directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="ascii" if text else None,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # only the parent receives Ctrl-C, and ends this process
    )
