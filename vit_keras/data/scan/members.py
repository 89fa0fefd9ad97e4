"""`Members`: where the images of a listing are in shards, such as tar files."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Members:
    """Images that are parts of shards.

    Args:
        shards: Absolute paths of the shards.
        shard_numbers: `(count,)`, int32, the shard of each image.
        offsets: `(count,)`, int64, where each image starts in its shard, bytes.
        lengths: `(count,)`, int64, bytes of each image.
    """

    shards: tuple[str, ...]
    shard_numbers: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray

    def find_part(self, index: int) -> tuple[str, int, int]:
        """Returns the shard, offset and length of an image, bytes."""
        return self.shards[self.shard_numbers[index]], int(self.offsets[index]), int(self.lengths[index])

    def take(self, indices: np.ndarray) -> "Members":
        """Returns the images at these indices, in this order."""
        return replace(
            self,
            shard_numbers=self.shard_numbers[indices],
            offsets=self.offsets[indices],
            lengths=self.lengths[indices],
        )
