"""Keras callbacks, and what they keep."""

import keras as keras  # before the modules inside, which register with it: see `vit_keras._RegisterWithKeras`
