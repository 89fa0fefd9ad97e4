"""The Vision Transformer as a Keras model."""

import keras as keras  # before the modules inside, which register with it: see `vit_keras.registration`
