"""Downloads checkpoints into a cache."""
