"""Optimizers, learning rate schedules and layer-wise learning rates."""

import keras as keras  # first, since the modules below register with Keras: see `vit_keras.registration`
