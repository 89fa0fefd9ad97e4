"""Epochs as callbacks see them, without training."""

import keras
import numpy as np


def run_epochs(callback, model, values, *, first=0, name="val_loss"):
    """Ends epochs with these values and a kernel of the epoch's number until training stops; returns the last epoch."""
    callback.set_model(model)
    for epoch, value in enumerate(values, first):
        model.weights[0].assign(np.full((2, 1), float(epoch)))
        callback.on_epoch_end(epoch, {"loss": 1.0, name: value})
        if model.stop_training:
            break
    return epoch


def read_kernel(model):
    return float(keras.ops.convert_to_numpy(model.weights[0])[0, 0])
