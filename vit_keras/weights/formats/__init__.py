"""Reads checkpoint files: safetensors, sharded safetensors, npz, torch.save and KerasHub."""
