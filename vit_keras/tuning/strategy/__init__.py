"""Decides which trial is trained next, and for how many epochs."""
