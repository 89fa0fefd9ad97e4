"""Weights in files: any library's checkpoint read where it fits, ours written back under its names, whole or not at all."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
