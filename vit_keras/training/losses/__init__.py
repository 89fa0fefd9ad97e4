"""Losses, metrics and distillation."""
