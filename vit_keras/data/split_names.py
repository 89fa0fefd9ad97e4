"""Recognizes the training, validation and test split by the names of folders, table cells and data set splits."""

import re
from collections.abc import Iterable, Mapping

from vit_keras.errors import ClassLayoutError, InvalidArgumentError
from vit_keras.validation import list_words

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


def _words(name: str) -> list[str]:
    """Splits `TrainSet` and `train_set` alike into words, without fillers."""
    return [word for word in map(str.lower, _PART.findall(name)) if word not in _FILLERS]


def parse_split(name: str) -> str | None:
    """Returns the split that a name stands for, or None."""
    words = _words(name)
    return _WORDS.get(words[0]) if len(words) == 1 else None


def parse_affixed_split(name: str) -> tuple[str, str] | None:
    """Returns the split that one word of a name stands for, and the other words; None if there is not exactly one."""
    words = _words(name)
    found = [word for word in words if word in _WORDS]
    if len(found) != 1:
        return None
    return _WORDS[found[0]], " ".join(word for word in words if word != found[0])


def match_splits(names: Iterable[str], source: object, splits: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the name of each split, without names that stand for none; raises `ClassLayoutError` if two stand for the same split."""
    names = list(names)
    absent = [name for name in splits or () if name not in names]
    if absent:
        raise ClassLayoutError(
            f"{source}: splits={dict(splits or {})} names {list_words(absent)}; there are {list_words(names)}."
        )
    found: dict[str, str] = {}
    for name in names:
        split = parse_split(name) if splits is None else splits.get(name)
        if split is None:
            continue
        if split in found:
            raise ClassLayoutError(f"{source}: {found[split]} and {name} are both the {split} split; keep one.")
        found[split] = name
    return found


def check_splits(splits: object) -> None:
    """Raises `InvalidArgumentError` unless `splits` is None or maps names to splits."""
    if splits is not None and (
        not isinstance(splits, Mapping)
        or any(not isinstance(name, str) or split not in SPLITS for name, split in splits.items())
    ):
        raise InvalidArgumentError(
            f"splits={splits!r}: expected the split of each name, such as {{'part_a': 'train', 'part_b': 'test'}}, or {{}} for no splits."
        )


def describe_splits(found: Mapping[str, str], what: str) -> tuple[str, ...]:
    """Returns a sentence about the split of each name (`found`), unless all names are the usual ones."""
    if all(name.lower() in _USUAL for name in found):
        return ()
    return (f"{what} read as splits: {', '.join(f'{name} as {split}' for name, split in found.items())}",)
