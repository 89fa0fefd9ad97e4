"""Config files of timm and transformers for a vit_keras model."""
