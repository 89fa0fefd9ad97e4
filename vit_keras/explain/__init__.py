"""Looking inside: what a Vision Transformer does with an image, on any model that `vit` made, without changing it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
