"""Progress and report of a search."""
