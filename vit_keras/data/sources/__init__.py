"""Reads folders, tables, arrays, TensorFlow Datasets and the built-in sets."""
