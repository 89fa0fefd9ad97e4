"""What every method of pre-training is made of: the encoder without a head, and a model that computes its own loss."""

import keras as keras  # first, since the modules below register with Keras: see `vit_keras.registration`
