"""Which program computes a layer's operations."""
