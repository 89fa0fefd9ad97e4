"""Folders, tables, arrays and TensorFlow Datasets."""
