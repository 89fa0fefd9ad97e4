"""The state of a training run on disk."""
