"""Vision Transformers for Keras 3: layers, presets, weights, training, tuning, and model explanation.

The public names are listed in `__init__.pyi` and imported on first use: `preset_info` imports no Keras, and nothing imports a second
backend. The classes that `.keras` files name are registered with Keras, whichever of the two packages is imported first.
"""

import lazy_loader

from vit_keras.registration import register_with_keras

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_with_keras()
