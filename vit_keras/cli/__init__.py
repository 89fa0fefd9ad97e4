"""The command line, `vit-keras`. Its help and its lists start without Keras."""

from vit_keras.cli.main import main

__all__ = ["main"]
