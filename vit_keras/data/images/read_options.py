"""How image files are read: one set of options for every source that has files."""

from collections.abc import Mapping
from dataclasses import dataclass

from vit_keras.data.images.cache import CACHES
from vit_keras.data.sources.split_names import checked_splits
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import is_number


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What becomes of files that can't be used, of links and of decoded images.

    Args:
        on_error: "quarantine" leaves such files out and says so; "error" refuses the whole source at the first.
        max_error_rate: Largest fraction of the files that may be left out; one always may.
        min_side: Shortest side that is an image, px.
        max_aspect: Largest ratio of an image's sides.
        follow_links: Whether symbolic links inside the folder are followed.
        drop_empty_classes: Whether a class folder without images is left out; else it is refused.
        cache: Where decoded images are kept: "memory", "disk", "none", or "auto" for the first of them that has room.
        splits: Which folder, which cell of a table's split column or which split of TensorFlow Datasets is which split, as
            {"part_a": "train", "part_b": "test"}; {} for none, so that images are held out. None goes by the names.

    Raises:
        InvalidArgumentError: One of them is not legal.
    """

    on_error: str = "quarantine"
    max_error_rate: float = 0.01
    min_side: int = 8
    max_aspect: float = 20.0
    follow_links: bool = False
    drop_empty_classes: bool = False
    cache: str = "auto"
    splits: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        checked_splits(self.splits)
        wrong = []
        if self.on_error not in ("quarantine", "error"):
            wrong.append(f'on_error={self.on_error!r} is neither "quarantine" nor "error"')
        if not is_number(self.max_error_rate) or not 0 <= self.max_error_rate <= 1:
            wrong.append(f"max_error_rate={self.max_error_rate!r} is not a fraction from 0 to 1")
        if type(self.min_side) is not int or self.min_side < 1:
            wrong.append(f"min_side={self.min_side!r} is not a positive whole number of px")
        if not is_number(self.max_aspect) or self.max_aspect < 1:
            wrong.append(f"max_aspect={self.max_aspect!r} is not a number from 1 up")
        wrong += [
            f"{name}={getattr(self, name)!r} is neither True nor False"
            for name in ("follow_links", "drop_empty_classes")
            if type(getattr(self, name)) is not bool
        ]
        if self.cache not in CACHES:
            wrong.append(f"cache={self.cache!r} is none of {', '.join(CACHES)}")
        if wrong:
            raise InvalidArgumentError(f"Files can't be read so: {'; '.join(wrong)}.")
