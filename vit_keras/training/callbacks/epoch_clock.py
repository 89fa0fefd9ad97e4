"""The callback that tells batches their epoch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from vit_keras.training.recipes.recipe import EpochClock


class TellEpoch(keras.callbacks.Callback):
    """Sets a clock to each epoch that begins: Keras may have read a batch before, to build the model.

    Args:
        clock: What the batches go by.
    """

    def __init__(self, clock: "EpochClock") -> None:
        super().__init__()
        self.clock = clock

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Sets the clock."""
        self.clock.epoch = epoch
