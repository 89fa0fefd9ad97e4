"""Checkpoint files as named tensors."""
