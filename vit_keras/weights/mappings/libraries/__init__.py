"""One table per library: its tensor names, and ours."""
