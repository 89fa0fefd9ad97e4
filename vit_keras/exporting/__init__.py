"""Exports models to files that other programs run: written, opened by their own runtime, and compared with the model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
