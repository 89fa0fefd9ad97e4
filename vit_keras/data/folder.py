"""Reads a folder of class folders."""

import unicodedata
from pathlib import Path

import numpy as np

from vit_keras.data.dataset import ImageData, Split
from vit_keras.data.images import read_image
from vit_keras.errors import DataError, StorageError, VitKerasError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_OTHER_SUFFIXES = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".ico", ".svg", ".psd")
_IGNORED = ("__MACOSX", "Thumbs.db")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_LARGEST_BYTES = 8 * 2**30
_MOST_UNREADABLE = 0.01  # of the files


def read_folder(root: Path, *, image_size: tuple[int, int], channels: int = 3, seed: int = 0) -> ImageData:
    """Returns the images of `root/CLASS/*.jpg`, or of `root/train/CLASS/*.jpg` and its siblings `validation` and `test`.

    Splits that are not there are held out of the training images, stratified and seeded: a tenth for validation, a tenth for
    the test. Files that cannot be read are left out and named in `notes`.

    Args:
        root: The folder; nothing in it is changed.
        image_size: Height and width all images are brought to, px.
        channels: 3 for colour, 1 for grey.
        seed: Decides what is held out.

    Raises:
        DataError: The folder has not at least two classes with three images each, or over one file in a hundred is
            unreadable, or the images would take more than 8 GiB.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder.")
    try:
        return _read(root, image_size, channels, seed)
    except OSError as error:
        if isinstance(error, VitKerasError):
            raise
        raise StorageError(f"{root}: could not be read ({error}).") from error


def _read(root: Path, image_size: tuple[int, int], channels: int, seed: int) -> ImageData:
    sources = _split_folders(root)
    class_names = _class_names(sources)
    files, notes = {}, []
    for split, folder in sources.items():
        files[split], unread = _files(folder, class_names)
        notes += unread
    count = sum(map(len, files.values()))
    _check_room(root, count, image_size, channels)

    splits, problems = {}, []
    for split, listed in files.items():
        images, labels = [], []
        for path, label in listed:
            try:
                images.append(read_image(path, image_size=image_size, channels=channels))
                labels.append(label)
            except VitKerasError as error:
                problems.append(str(error))
        empty = [class_names[label] for label in sorted({label for _, label in listed} - set(labels))]
        if empty:
            raise DataError(f"{sources[split]}: no image of {empty} can be read. The first reasons: {problems[:3]}")
        splits[split] = Split(np.stack(images), np.asarray(labels, dtype="int32"))
    _check_problems(root, problems, count)
    missing = [name for name in ("test", "validation") if name not in splits]
    _check_enough(splits["train"], class_names, needed=1 + len(missing))
    for name in missing:
        splits["train"], splits[name] = hold_out(splits["train"], class_names, seed=seed)
    return ImageData(name=str(root), class_names=class_names, splits=splits, seed=seed, notes=(*notes, *problems))


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split, or the root as the training split where there are none."""
    found: dict[str, Path] = {}
    for folder in _folders(root):
        split = _SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise DataError(f"{root}: {found[split].name} and {folder.name} are both the {split} split; keep one.")
        if split is not None:
            found[split] = folder
    if "train" in found:
        return found
    if found and len(found) == len(_folders(root)):
        names = [folder.name for folder in found.values()]
        raise DataError(f"{root}: {names} are there, but no train folder; expected {root.name}/train/CLASS/image.jpg.")
    return {"train": root}


def _check_enough(split: Split, class_names: tuple[str, ...], *, needed: int) -> None:
    words = {2: "two, to train and to hold one out", 3: "three, to train, validate and test"}
    for label, name in enumerate(class_names):
        count = int((split.labels == label).sum())
        if count < needed:
            raise DataError(f"Class {name!r} has {count} readable images; it needs {words[needed]}.")


def hold_out(split: Split, class_names: tuple[str, ...], *, seed: int, rate: float = 0.1) -> tuple[Split, Split]:
    """Returns a split in two: what stays, and `rate` of each class (one image at least), drawn by seed.

    Raises:
        DataError: A class has one image or none.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(split), dtype=bool)
    for label, name in enumerate(class_names):
        members = np.flatnonzero(split.labels == label)
        if len(members) < 2:
            raise DataError(f"Class {name!r} has {len(members)} images; it needs two, to hold one out.")
        chosen[rng.permutation(members)[: max(1, round(rate * len(members)))]] = True
    return Split(split.images[~chosen], split.labels[~chosen]), Split(split.images[chosen], split.labels[chosen])


def _folders(root: Path) -> list[Path]:
    return sorted(
        item
        for item in root.iterdir()
        if item.is_dir() and not item.is_symlink() and not item.name.startswith(".") and item.name not in _IGNORED
    )


def _class_names(sources: dict[str, Path]) -> tuple[str, ...]:
    found = {split: [_name(item) for item in _folders(folder)] for split, folder in sources.items()}
    names = found["train"]
    root = sources["train"]
    if len({name.casefold() for name in names}) < len(names):
        raise DataError(f"{root}: some class folders differ only in case or in the spelling of accents: {names}.")
    if len(names) < 2:
        loose = sum(item.suffix.lower() in SUFFIXES for item in root.iterdir() if item.is_file())
        raise DataError(
            f"{root}: two class folders or more are needed, found {names} and {loose} images beside them. "
            f"Expected {root.name}/CLASS/image.jpg, or {root.name}/train/CLASS/image.jpg."
        )
    for split, others in found.items():
        unknown = sorted(set(others) - set(names))
        if unknown:
            raise DataError(f"{sources[split]}: classes {unknown} are not among the training classes {names}.")
    return tuple(names)


def _files(folder: Path, class_names: tuple[str, ...]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Returns the image files with their labels, and a line for each picture in a format not read."""
    files, unread = [], []
    for class_folder in _folders(folder):
        label = class_names.index(_name(class_folder))
        found = 0
        for path in sorted(class_folder.rglob("*")):
            inside = path.relative_to(class_folder).parts
            if (
                any(part.startswith(".") or part in _IGNORED for part in inside)
                or path.is_symlink()
                or not path.is_file()
            ):
                continue
            if path.suffix.lower() in SUFFIXES:
                files.append((path, label))
                found += 1
            elif path.suffix.lower() in _OTHER_SUFFIXES:
                unread.append(f"{path}: {path.suffix} is not read; convert it to PNG or JPEG.")
        if not found:
            raise DataError(
                f"{class_folder}: no image in this class folder; expected files ending in {', '.join(SUFFIXES)}."
            )
    return files, unread


def _name(folder: Path) -> str:
    name = unicodedata.normalize("NFC", folder.name)
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise DataError(
            f"{folder.parent}: the folder name {folder.name!a} is no text in this system's encoding; rename it."
        )
    return name


def _check_room(root: Path, count: int, image_size: tuple[int, int], channels: int) -> None:
    needed = count * image_size[0] * image_size[1] * channels
    if needed > _LARGEST_BYTES:
        raise DataError(
            f"{root}: {count} images of {image_size[0]}x{image_size[1]} px are {needed / 2**30:.1f} GiB in memory, over the limit "
            f"of {_LARGEST_BYTES // 2**30} GiB. Choose a preset with smaller images, or give `model.fit` your own tf.data pipeline."
        )


def _check_problems(root: Path, problems: list[str], count: int) -> None:
    if len(problems) > max(1, _MOST_UNREADABLE * count):
        listed = "\n  ".join(problems[:10])
        raise DataError(
            f"{root}: {len(problems)} of {count} files can't be read, more than one in a hundred:\n  {listed}"
        )
