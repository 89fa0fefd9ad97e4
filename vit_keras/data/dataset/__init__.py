"""Splits, order and batches."""
