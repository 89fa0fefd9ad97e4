"""Reads the config files beside a checkpoint."""
