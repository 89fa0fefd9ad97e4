"""Optimizers, schedules and layer-wise learning rates."""
