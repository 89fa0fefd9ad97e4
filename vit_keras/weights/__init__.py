"""Reads checkpoints of vit_keras and of other libraries, and writes models for timm and transformers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
