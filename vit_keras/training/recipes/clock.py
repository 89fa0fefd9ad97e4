"""Counts the epochs whose batches are read."""


class EpochClock:
    """Counts the epochs whose batches are read. Keras may read a batch before training, so `TellEpoch` sets `epoch` again."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch to read next."""
        self.epoch = epoch

    def next_epoch(self) -> int:
        """Returns the epoch to read now."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return epoch
