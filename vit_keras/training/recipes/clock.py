"""Which epoch training is in, where batches are read anew for each. No Keras."""


class EpochClock:
    """Counts the epochs that are read, from where it is set on."""

    def __init__(self) -> None:
        self.epoch = 0

    def next_epoch(self) -> int:
        """Returns the epoch that is read now."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return epoch
