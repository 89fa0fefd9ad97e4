"""One table per library: its tensor names and config fields, and those of vit_keras."""
