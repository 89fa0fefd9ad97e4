"""Reads and writes LoRA adapters of PEFT: their config, their tensors, and the places of those in a model."""
