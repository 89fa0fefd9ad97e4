"""Kernels: which program computes a layer's operations."""
