"""Keras callbacks, and what they keep."""
