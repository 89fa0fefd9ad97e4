"""One table a library: its names and ours."""
