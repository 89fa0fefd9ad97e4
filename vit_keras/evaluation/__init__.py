"""Classifies images with a model and measures how good it is."""
