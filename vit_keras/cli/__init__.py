"""The command line `vit-keras`; help and lists start without Keras."""

from vit_keras.cli.main import main

__all__ = ["main"]
