"""Looks at every file of a source once."""
