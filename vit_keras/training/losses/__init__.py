"""Losses, metrics and distillation."""

import keras as keras  # first, since the modules below register with Keras: see `vit_keras.registration`
