"""`ReadOptions`: how image files are read, for every source that has files."""

from collections.abc import Mapping
from dataclasses import dataclass

from vit_keras.data.images.cache import CACHES
from vit_keras.data.split_names import check_splits
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import is_number


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to treat unreadable files, symbolic links, empty classes and decoded images.

    Args:
        on_error: "quarantine" leaves unreadable files out and reports them; "error" rejects the source at the first one.
        max_error_rate: Largest fraction of the files that may be left out, 0 to 1; one file may always be.
        min_side: Minimum length of an image's shorter side, px.
        max_aspect: Maximum ratio of an image's sides.
        follow_links: Whether to follow symbolic links inside the folder.
        drop_empty_classes: Whether to drop a class folder without images; by default it is an error.
        cache: Where to keep decoded images: "memory", "disk", "none", or "auto" for the first of them that has room.
        splits: The split of each folder, table value or TensorFlow Datasets split, as {"part_a": "test"}; {} draws all splits at random.

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
        check_splits(self.splits)
        wrong = []
        if self.on_error not in ("quarantine", "error"):
            wrong.append(f'on_error={self.on_error!r} is neither "quarantine" nor "error"')
        if not is_number(self.max_error_rate) or not 0 <= self.max_error_rate <= 1:
            wrong.append(f"max_error_rate={self.max_error_rate!r} is not a number from 0 to 1")
        if type(self.min_side) is not int or self.min_side < 1:
            wrong.append(f"min_side={self.min_side!r} is not a positive integer (px)")
        if not is_number(self.max_aspect) or self.max_aspect < 1:
            wrong.append(f"max_aspect={self.max_aspect!r} is not a number of at least 1")
        wrong += [
            f"{name}={getattr(self, name)!r} is neither True nor False"
            for name in ("follow_links", "drop_empty_classes")
            if type(getattr(self, name)) is not bool
        ]
        if self.cache not in CACHES:
            wrong.append(f"cache={self.cache!r} is none of {', '.join(CACHES)}")
        if wrong:
            raise InvalidArgumentError(f"ReadOptions: {'; '.join(wrong)}.")
