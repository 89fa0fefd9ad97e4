"""Presets, weights and models joined: loading, saving and rebuilding."""
