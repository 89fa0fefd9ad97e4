"""Splits, the data set, and its batches."""
