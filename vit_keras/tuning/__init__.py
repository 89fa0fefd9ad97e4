"""Hyperparameter search within a budget, with keras-tuner's classes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
