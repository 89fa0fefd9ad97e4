"""Masked autoencoders: an encoder of the visible patches, and a small decoder that predicts the pixels of the others."""

import keras as keras  # first, since the modules below register with Keras: see `vit_keras.registration`
