"""Joins splits to one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vit_keras.data.dataset.mapped_images import MappedImages
from vit_keras.data.dataset.splits import Encoded, EncodedSplit, Split
from vit_keras.data.images.decode import FilePart
from vit_keras.errors import InvalidArgumentError


def join_splits(splits: Sequence[Split | EncodedSplit]) -> Split | EncodedSplit:
    """Returns the images of several splits of a data set, one after the other."""
    labels = np.concatenate([split.labels for split in splits])
    decoded = [split for split in splits if isinstance(split, Split)]
    if len(decoded) == len(splits):
        mapped = [split.images for split in decoded if isinstance(split.images, MappedImages)]
        if len(mapped) == len(decoded) and all(each.array is mapped[0].array for each in mapped):
            rows = np.concatenate([each.rows for each in mapped])
            return replace(decoded[0], images=replace(mapped[0], rows=rows), labels=labels)
        images = np.concatenate([np.asarray(split.images) for split in decoded])
        return replace(decoded[0], images=images, labels=labels)
    encoded = [split for split in splits if isinstance(split, EncodedSplit)]
    if len(encoded) < len(splits):
        raise InvalidArgumentError("Splits of files and splits of arrays can't be joined: load all of them alike.")
    files = JoinedFiles.join([split.files for split in encoded])
    first = encoded[0]
    return EncodedSplit(files, labels, first.preprocessing, first.cache, first.max_error_rate)


@dataclass(frozen=True, eq=False, kw_only=True)
class JoinedFiles(Encoded):
    """The files of several sources, one after the other."""

    parts: tuple[Encoded, ...]
    starts: np.ndarray  # the place of the first file of each part

    @classmethod
    def join(cls, parts: Sequence[Encoded]) -> "JoinedFiles":
        """Returns all files of the parts, in order."""
        starts = np.cumsum([0, *map(len, parts)])
        return cls(parts=tuple(parts), starts=starts[:-1], places=np.arange(starts[-1]))

    def _find(self, index: int) -> tuple[Encoded, int]:
        place = int(self.places[index])
        part = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.parts[part], place - int(self.starts[part])

    def name(self, index: int) -> str:
        """Returns the path or name."""
        part, place = self._find(index)
        return part.name(place)

    def read(self, index: int) -> bytes:
        """Returns the bytes."""
        part, place = self._find(index)
        return part.read(place)

    def on_disk(self, index: int) -> FilePart | None:
        """Returns where the bytes are in a file."""
        part, place = self._find(index)
        return part.on_disk(place)

    def hashes(self) -> list[bytes]:
        """Returns the SHA-256 of the content of each image."""
        known = [digest for part in self.parts for digest in part.hashes()]
        return [known[place] for place in self.places.tolist()]
