"""Recognizes the layout of a data set folder: split folders with class folders, or class folders alone."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vit_keras.data.class_names import order_classes
from vit_keras.data.images.signatures import FORMATS
from vit_keras.data.scan.walk import Walk, is_ignored, is_undecodable
from vit_keras.data.split_names import SPLITS, describe_splits, match_splits, parse_affixed_split, parse_split
from vit_keras.errors import ClassLayoutError, EmptyDatasetError
from vit_keras.validation import list_words

IMAGE_FILES = f"{', '.join(FORMATS[:-1])} and (with pillow-heif) HEIC files"


def find_class_folders(
    root: Path, walk: Walk, splits: Mapping[str, str] | None
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Returns the class folders of each split, under "" if there are no splits, and how the splits were understood.

    `splits` states the split of each folder; empty for no splits, None to recognize usual names.
    """
    folders = {folder.name: folder for folder in walk.folders(root)}
    found = _find_splits(root, folders, splits)
    if not found:
        return {"": list(folders.values())}, ()
    walk.skipped += [
        (walk.relative(folder), "a folder next to the split folders")
        for name, folder in folders.items()
        if name not in found.values()
    ]
    found = {split: found[split] for split in SPLITS if split in found}
    decisions = describe_splits({name: split for split, name in found.items()}, "folders")
    return {split: _list_class_folders(folders[name], walk) for split, name in found.items()}, decisions


def _find_splits(root: Path, folders: Mapping[str, Path], splits: Mapping[str, str] | None) -> dict[str, str]:
    """Returns the folder of each split; none if the folders are classes."""
    if splits is not None:
        found = match_splits(folders, root, splits)
        if found and "train" not in found:
            raise ClassLayoutError(f"{root}: splits={dict(splits)} has no training split.")
        return found
    known = [name for name in folders if parse_split(name)]
    training = [name for name in known if parse_split(name) == "train"]
    # Next to other folders, "train" may also be a class.
    if training and (len(known) == len(folders) or any(_has_folders(folders[name]) for name in training)):
        return match_splits(known, root)
    if known and len(known) == len(folders):
        raise ClassLayoutError(
            f"{root}: there are {known}, but no train folder; expected {root.name}/train/CLASS/image.jpg."
        )
    affixed = _find_affixed_splits(folders)
    if not affixed:
        _check_no_splits(root, folders)
    return affixed


def _find_affixed_splits(folders: Mapping[str, Path]) -> dict[str, str]:
    """Returns the folders of splits with a common affix, such as seg_train and seg_test; none if that is not clear."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in folders:
        affixed = parse_affixed_split(name)
        if affixed is not None:
            groups.setdefault(affixed[1], []).append((affixed[0], name))
    chosen = [
        group
        for group in groups.values()
        if len(group) > 1
        and len(dict(group)) == len(group)
        and "train" in dict(group)
        and all(_subfolder_names(folders[name]) for _, name in group)
    ]
    return dict(chosen[0]) if len(chosen) == 1 else {}


def _check_no_splits(root: Path, folders: Mapping[str, Path]) -> None:
    """Raises `ClassLayoutError` if folders look like splits with unknown names."""
    inner: list[set[str]] = []
    for folder in folders.values():
        names = _subfolder_names(folder)
        if not names:  # a class folder, as usual: no need to look at the others
            return
        inner.append(names)
    shared = set.intersection(*inner) if len(inner) > 1 else set()
    named = [name for name in folders if parse_affixed_split(name)]
    if len(inner) > 1 and (len(shared) > 1 or named):
        common = f"each has folders named {list_words(sorted(shared)[:5])}"
        reason = common if len(shared) > 1 else f"by the names {list_words(named)}"
        raise ClassLayoutError(
            f"{root}: the folders {list_words(sorted(folders)[:10])} look like splits ({reason}), but it is not clear which is which. Rename them "
            "to train, validation and test, or state it with ReadOptions(splits={'NAME': 'train', ...}), or with "
            "ReadOptions(splits={}) if they are classes; or pass a CSV file with the columns path, label and split."
        )


def _subfolder_names(folder: Path) -> set[str]:
    """Returns the names of the folders in a folder; none if it also has files, or can't be read."""
    names = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_ignored(entry.name):
                    continue
                if not entry.is_dir():
                    return set()
                names.add(entry.name)
    except OSError:  # reported when its images are listed
        return set()
    return names


def _list_class_folders(folder: Path, walk: Walk) -> list[Path]:
    """Returns the class folders of a split, also in a folder of the same name inside: seg_train/seg_train/CLASS."""
    folders = walk.folders(folder)
    if len(folders) == 1 and folders[0].name.casefold() == folder.name.casefold() and _subfolder_names(folders[0]):
        return walk.folders(folders[0])
    return folders


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() for entry in entries)


def find_class_names(
    root: Path, sources: dict[str, list[Path]], walk: Walk, given: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Returns the class names in order."""
    found = {split: [class_name(folder) for folder in folders] for split, folders in sources.items()}
    for split, names in found.items():
        folded = Counter(name.strip().casefold() for name in names)
        same = [name for name in names if folded[name.strip().casefold()] > 1]
        if same:
            raise ClassLayoutError(
                f"{root / split}: some class folders differ only in case or in the spelling of accents: {same}. Rename or merge them."
            )
    names = found["train" if "train" in found else ""]
    if len(names) < 2:
        raise (ClassLayoutError if names or walk.loose else EmptyDatasetError)(
            _explain_layout(root, names, sources, walk)
        )
    for split, others in found.items():
        unknown = sorted(set(others) - set(names))
        if unknown:
            raise ClassLayoutError(
                f"{root / split}: the classes {list_words(unknown)} are not among the training classes {list_words(sorted(names))}."
            )
    return order_classes(names, given, root)


def _explain_layout(root: Path, names: list[str], sources: dict[str, list[Path]], walk: Walk) -> str:
    hint = ""
    if "train" not in sources and len(names) == 1 and _has_folders(sources[""][0]):
        hint = f"\n{sources[''][0]} contains folders itself: is it the data set?"
    return (
        f"{root}: expected at least two class folders, found {list_words(names)}; {walk.loose} images are in no class folder. "
        f"Expected {root.name}/CLASS/image.jpg, or {root.name}/train/CLASS/image.jpg:\n"
        f"  {root.name}/\n    cat/\n      one.jpg\n      two.jpg\n    dog/\n      three.jpg\n"
        f"{IMAGE_FILES} are read, whatever their names.{hint}"
    )


def class_name(folder: Path) -> str:
    """Returns the name of a class folder in Unicode form NFC; raises `ClassLayoutError` if it is not valid text."""
    name = unicodedata.normalize("NFC", folder.name)
    if is_undecodable(name):
        raise ClassLayoutError(
            f"{folder.parent}: the folder name {folder.name!a} is not valid in this system's encoding; rename it."
        )
    return name
