"""What a result depends on besides its inputs: versions, backend and hardware."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vit_keras.runtime.cpu import processor_name
from vit_keras.runtime.tensorflow_threads import count_parallel_operations

PACKAGES = ("vit-keras-zoo", "keras", "tensorflow", "jax", "torch", "numpy")
"""Distributions that numbers come from."""


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Returns the version of Python and those of the installed packages.

    Example:
        >>> sorted(versions()), sorted(versions(["keras", "not-a-package"])["versions"])
        (['python', 'versions'], ['keras'])
    """
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "versions": found}


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Returns the versions, the backend and the hardware. Starts the backend, to find its devices."""
    import keras

    from vit_keras.runtime.devices import devices  # imports Keras

    return {
        **versions(packages),
        "backend": keras.backend.backend(),
        "devices": devices(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "parallel_operations": count_parallel_operations(),
    }
