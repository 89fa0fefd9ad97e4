"""Positions inside attention: rotation of queries and keys, and biases of the scores."""
