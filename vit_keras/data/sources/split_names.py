"""What folders, splits of other libraries and cells of a table call the training, validation and test images."""

import re
from collections.abc import Iterable, Mapping

from vit_keras.errors import ClassLayoutError, InvalidArgumentError

SPLITS = ("train", "validation", "test")
_WORDS = {
    "train": "train", "training": "train", "trainset": "train", "trainingset": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "valset": "validation", "validset": "validation",
    "validationset": "validation", "dev": "validation", "devset": "validation", "development": "validation", "eval": "validation",
    "evaluation": "validation",
    "test": "test", "testing": "test", "testset": "test", "tst": "test",
}  # fmt: skip
_USUAL = ("train", "training", "val", "valid", "validation", "test")
_FILLERS = {"set", "data", "dataset", "split", "image", "images", "img", "imgs"}
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")


def _parts(name: str) -> list[str]:
    """Returns the words of a name, `TrainSet` and `train_set` alike, without those that say nothing."""
    words = [word.lower() for word in _PART.findall(name)]
    return [word for word in words if word not in _FILLERS]


def split_of(name: str) -> str | None:
    """Returns the split that a name means; None where it means none.

    Args:
        name: Of a folder, a split or a cell.

    Example:
        >>> [split_of(name) for name in ("Testing", "dev", "train_images", "VAL", "bullet_train")]
        ['test', 'validation', 'train', 'validation', None]
    """
    words = _parts(name)
    return _WORDS.get(words[0]) if len(words) == 1 else None


def affixed_split_of(name: str) -> tuple[str, str] | None:
    """Returns the split that a part of a name means, and the other parts; None where that is not clear.

    Args:
        name: Of a folder.

    Example:
        >>> affixed_split_of("seg_train"), affixed_split_of("val2017")
        (('train', 'seg'), ('validation', '2017'))
    """
    words = _parts(name)
    found = [word for word in words if word in _WORDS]
    if len(found) != 1:
        return None
    return _WORDS[found[0]], " ".join(word for word in words if word != found[0])


def named_splits(names: Iterable[str], place: object, splits: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns which of some names is which split; names that mean none are left out.

    Args:
        names: Of folders or splits.
        place: Where they are, for messages.
        splits: The split of each name, as the caller stated it; None to go by the names.

    Raises:
        ClassLayoutError: Two names mean the same split, or a stated name is not there.
    """
    names = list(names)
    absent = [name for name in splits or () if name not in names]
    if absent:
        raise ClassLayoutError(f"{place}: splits={dict(splits or {})} names {absent}; there are {names}.")
    found: dict[str, str] = {}
    for name in names:
        split = split_of(name) if splits is None else splits.get(name)
        if split is None:
            continue
        if split in found:
            raise ClassLayoutError(f"{place}: {found[split]} and {name} are both the {split} split; keep one.")
        found[split] = name
    return found


def checked_splits(splits: object) -> dict[str, str] | None:
    """Returns which name is which split, as the caller stated it.

    Raises:
        InvalidArgumentError: It is no mapping of names to splits.
    """
    if splits is None:
        return None
    if not isinstance(splits, Mapping) or any(
        not isinstance(name, str) or split not in SPLITS for name, split in splits.items()
    ):
        raise InvalidArgumentError(
            f"splits={splits!r}: expected names and the split each is, as {{'part_a': 'train', 'part_b': 'test'}}, or {{}} for none."
        )
    return dict(splits)


def decided(found: Mapping[str, str], what: str) -> tuple[str, ...]:
    """Returns which name was read as which split, in words; nothing where all have usual names.

    Args:
        found: The split of each name.
        what: What has these names.
    """
    if all(name.lower() in _USUAL for name in found):
        return ()
    return (f"{what} read as splits: {', '.join(f'{name} as {split}' for name, split in found.items())}",)
