"""Writes ONNX graphs from a config and weights, node by node."""
