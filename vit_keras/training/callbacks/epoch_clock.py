"""The callback that sets the epoch of augmented batches."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from vit_keras.training.recipes.recipe import EpochClock


class TellEpoch(keras.callbacks.Callback):
    """Sets a clock when an epoch begins; counting batches would miscount, as Keras may read one early to build the model."""

    def __init__(self, clock: "EpochClock") -> None:
        super().__init__()
        self.clock = clock

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Sets the clock."""
        self.clock.epoch = epoch
