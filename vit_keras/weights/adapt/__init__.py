"""Adapts a checkpoint's tensors to a model of another size."""
