"""Weights in files: written whole or not at all, read only where they fit."""

from vit_keras.weights.store import read_tensors, write_tensors

__all__ = ["read_tensors", "write_tensors"]
