"""The callback that sets the epoch of augmented batches."""

from collections.abc import Callable, Mapping
from typing import Any

import keras


class TellEpoch(keras.callbacks.Callback):
    """Calls a function with each epoch that begins; counting batches would miscount, as Keras may read one early to build the model."""

    def __init__(self, set_epoch: Callable[[int], None]) -> None:
        super().__init__()
        self.set_epoch = set_epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Passes the epoch on."""
        self.set_epoch(epoch)
