"""The folder for downloads, decoded images and compiled programs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns `VIT_KERAS_CACHE`, else `vit_keras` in `KERAS_HOME`, else `~/.keras/vit_keras`."""
    folder = os.environ.get("VIT_KERAS_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "vit_keras"
