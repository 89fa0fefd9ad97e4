"""Adapting a trained model: LoRA, freezing, probes, model soups."""
