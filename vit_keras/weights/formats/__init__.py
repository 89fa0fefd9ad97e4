"""Reads checkpoint files: safetensors, sharded safetensors and npz."""
