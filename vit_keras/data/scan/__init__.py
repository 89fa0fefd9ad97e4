"""Decodes every file of a source once and records what it is."""
