"""Checkpoints of training runs: what they contain, how they are stored, when they are saved."""
