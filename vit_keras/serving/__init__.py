"""Serves a model on this machine: a page that classifies images, and an HTTP endpoint for programs."""
