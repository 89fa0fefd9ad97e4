"""Config files of timm and transformers for a model of ours."""
