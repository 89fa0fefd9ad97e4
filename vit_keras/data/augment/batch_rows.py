"""Which images of a batch one process reads: all of them, or its own part of a batch that several processes share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclass(frozen=True, kw_only=True)
class BatchRows:
    """The rows of a batch that a process reads, `start` to `stop`, and after them their partners where images are mixed.

    Random numbers are drawn for the whole batch, so the same image changes in the same way however many processes share the batch.

    Args:
        batch_size: Images in the whole batch.
        start: First row of this process.
        stop: The row after its last.
        mixes: Whether image i is mixed with image `batch_size - 1 - i`, which may be a row of another process.

    Example:
        >>> BatchRows(batch_size=8, start=2, stop=4, mixes=True).places.tolist()
        [2, 3, 5, 4]
    """

    batch_size: int
    start: int
    stop: int
    mixes: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows of the batch."""
        return self.stop - self.start == self.batch_size

    @property
    def places(self) -> "np.ndarray":
        """The rows to read, int64."""
        import numpy as np  # here: lists of recipes do without

        own = np.arange(self.start, self.stop)
        return own if self.is_whole or not self.mixes else np.concatenate([own, self.batch_size - 1 - own])

    def take(self, draws: "tf.Tensor") -> "tf.Tensor":
        """Returns those of the draws of a whole batch that belong to `places`."""
        import tensorflow as tf

        return draws if self.is_whole else tf.gather(draws, self.places)

    def take_own(self, draws: "tf.Tensor") -> "tf.Tensor":
        """Returns those of the draws of a whole batch that belong to the rows of this process."""
        return draws[self.start : self.stop]

    def pair(self, values: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        """Returns the values of the rows of this process, and those of their partners, from the values of `places`."""
        import tensorflow as tf

        if self.is_whole:
            return values, tf.reverse(values, [0])
        count = self.stop - self.start
        return values[:count], values[count:]


def whole_batch(count: int) -> BatchRows:
    """Returns all rows of a batch."""
    return BatchRows(batch_size=count, start=0, stop=count)
