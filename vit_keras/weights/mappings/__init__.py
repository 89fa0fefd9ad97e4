"""One table per library: its tensor names and config fields, and ours."""
