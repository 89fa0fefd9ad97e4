"""The Vision Transformer as a Keras model: its layers, its graph, and what `fit` does with it."""

import keras as keras  # before the modules inside, which register with it: see `vit_keras.registration`
