"""Tuning: depth, heads and the rest within a budget, on keras-tuner's classes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
