"""Fits tensors to other sizes."""
