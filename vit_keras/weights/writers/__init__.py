"""Directories of other libraries."""
