"""Lists the image files of a folder of class folders, from its structure alone: no file is opened."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError, StorageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
SPLITS = ("train", "validation", "test")
_OTHER_SUFFIXES = (
    ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".ico", ".svg", ".psd", ".raw", ".cr2", ".nef", ".dng", ".exr",
)  # fmt: skip
_IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""What folders, and cells of a table, call the splits."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of a data set, by name.

    Args:
        root: The folder that paths are relative to.
        class_names: Sorted.
        paths: Relative to `root`, with `/` between.
        labels: `(count,)`, int32, indices into the class names.
        splits: `(count,)`, int8, indices into `SPLITS`; -1 where the source has no splits.
        rejected: Image files that can't be used, each a path and a reason.
        skipped: What was passed over for what it is, links and pipes, each a path and a reason.
        ignored: Counts of files that are no images, by kind.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: list[str]
    labels: np.ndarray
    splits: np.ndarray
    rejected: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)


def list_folder(root: Path, *, follow_links: bool = False, drop_empty_classes: bool = False) -> Listing:
    """Returns the files of `root/CLASS/*.jpg`, or of `root/train/CLASS/*.jpg` and its siblings `validation` and `test`.

    Folders inside a class folder belong to the class. What starts with a dot, and what systems leave behind, is ignored.

    Args:
        root: The folder.
        follow_links: Whether symbolic links are followed; each file is listed once whatever links to it.
        drop_empty_classes: Whether a class folder without images is left out; else it is refused.

    Raises:
        EmptyDatasetError: There are no images.
        ClassLayoutError: The folders make no classes: fewer than two, names that collide, a split without its classes.
        DataError: There is no such folder.
        StorageError: It can't be read.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder.")
    walk = _Walk(root, follow_links)
    try:
        sources = _split_folders(root, walk)
        class_names = _class_names(sources, walk)
        return _listed(root, sources, class_names, walk, drop_empty_classes=drop_empty_classes)
    except PermissionError as error:
        raise StorageError(f"{root}: could not be read ({error}).") from error


class _Walk:
    """Goes through folders, and notes what it passes over."""

    def __init__(self, root: Path, follow_links: bool) -> None:
        self.root, self.follow_links = root, follow_links
        self.rejected: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self.ignored: Counter[str] = Counter()
        self._seen: set[tuple[int, int]] = set()

    def relative(self, entry: os.DirEntry[str]) -> str:
        return Path(entry.path).relative_to(self.root).as_posix()

    def entries(self, folder: Path | str) -> list[os.DirEntry[str]]:
        """Returns what is in a folder, in order, without what is ignored."""
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        kept = []
        for entry in entries:
            if entry.name in _IGNORED:
                self.ignored[entry.name] += 1
            elif entry.name.startswith("."):
                self.ignored["hidden"] += 1
            else:
                kept.append(entry)
        return kept

    def is_folder(self, entry: os.DirEntry[str]) -> bool:
        return entry.is_dir(follow_symlinks=self.follow_links)

    def folders(self, folder: Path) -> list[Path]:
        """Returns the folders in a folder; links are noted where they are not followed."""
        kept = []
        for entry in self.entries(folder):
            if entry.is_symlink() and not self.follow_links:
                self.skipped.append((self.relative(entry), "a symbolic link, not followed"))
            elif self.is_folder(entry):
                kept.append(Path(entry.path))
        return kept

    def images(self, folder: Path | str) -> Iterator[str]:
        """Yields the relative paths of the image files in a folder and the folders inside it."""
        for entry in self.entries(folder):
            if entry.is_symlink() and not self.follow_links:
                self.skipped.append((self.relative(entry), "a symbolic link, not followed"))
            elif self.is_folder(entry):
                if self._is_new(entry):
                    try:
                        yield from self.images(entry.path)
                    except PermissionError:
                        self.rejected.append((self.relative(entry), "permission denied"))
            elif not entry.is_file(follow_symlinks=self.follow_links):
                self.skipped.append((self.relative(entry), "neither a file nor a folder"))
            else:
                yield from self._image(entry)

    def _image(self, entry: os.DirEntry[str]) -> Iterator[str]:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in _OTHER_SUFFIXES:
            self.rejected.append(
                (self.relative(entry), f"unsupported format: {suffix} is not read; convert it to PNG or JPEG")
            )
        elif suffix not in SUFFIXES:
            self.ignored[suffix or "without ending"] += 1
        elif _is_no_text(entry.name):
            self.rejected.append((self.relative(entry), "its name is no text in this system's encoding; rename it"))
        elif self._is_new(entry):
            yield self.relative(entry)

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """Whether it was not met before by another link; without links nothing can be met twice."""
        if not self.follow_links:
            return True
        status = entry.stat()
        key = (status.st_dev, status.st_ino)
        if key in self._seen:
            self.skipped.append((self.relative(entry), "a link to what is listed already"))
            return False
        self._seen.add(key)
        return True


def _split_folders(root: Path, walk: _Walk) -> dict[str, Path]:
    """Returns the folder of each split, or the root as the training split where there are none."""
    found: dict[str, Path] = {}
    folders = walk.folders(root)
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise ClassLayoutError(
                f"{root}: {found[split].name} and {folder.name} are both the {split} split; keep one."
            )
        if split is not None:
            found[split] = folder
    if "train" in found:
        return found
    if found and len(found) == len(folders):
        names = [folder.name for folder in found.values()]
        raise ClassLayoutError(
            f"{root}: {names} are there, but no train folder; expected {root.name}/train/CLASS/image.jpg."
        )
    return {"": root}


def _class_names(sources: dict[str, Path], walk: _Walk) -> tuple[str, ...]:
    training = "train" if "train" in sources else ""
    found = {
        split: [_name(item) for item in _Walk(folder, walk.follow_links).folders(folder)]
        for split, folder in sources.items()
    }
    names, root = found[training], sources[training]
    if len({name.casefold() for name in names}) < len(names):
        raise ClassLayoutError(
            f"{root}: some class folders differ only in case or in the spelling of accents: {names}. Rename or join them."
        )
    if len(names) < 2:
        with os.scandir(root) as entries:
            loose = sum(os.path.splitext(entry.name)[1].lower() in SUFFIXES for entry in entries)
        kind = ClassLayoutError if names or loose else EmptyDatasetError
        raise kind(
            f"{root}: two class folders or more are needed, found {names} and {loose} images beside them. "
            f"Expected {root.name}/CLASS/image.jpg, or {root.name}/train/CLASS/image.jpg:\n"
            f"  {root.name}/\n    cat/\n      one.jpg\n      two.jpg\n    dog/\n      three.jpg"
        )
    for split, others in found.items():
        unknown = sorted(set(others) - set(names))
        if unknown:
            raise ClassLayoutError(f"{sources[split]}: classes {unknown} are not among the training classes {names}.")
    return tuple(sorted(names))


def _listed(
    root: Path, sources: dict[str, Path], class_names: tuple[str, ...], walk: _Walk, *, drop_empty_classes: bool
) -> Listing:
    paths: list[str] = []
    labels: list[int] = []
    splits: list[int] = []
    empty: dict[str, Path] = {}
    for split, folder in sources.items():
        for class_folder in walk.folders(folder) if split else _Walk(root, walk.follow_links).folders(folder):
            name, before, refused = _name(class_folder), len(paths), len(walk.rejected)
            paths.extend(walk.images(class_folder))
            labels.extend([class_names.index(name)] * (len(paths) - before))
            splits.extend([SPLITS.index(split) if split else -1] * (len(paths) - before))
            if (
                len(paths) == before
                and len(walk.rejected) == refused
                and not (drop_empty_classes and split in SPLITS[1:])
            ):
                empty[name] = class_folder
    if not paths and not walk.rejected:
        seen = ", ".join(f"{count} {kind}" for kind, count in walk.ignored.most_common()) or "nothing"
        raise EmptyDatasetError(
            f"{root}: no image in any class folder; expected files ending in {', '.join(SUFFIXES)}, found {seen}."
        )
    if empty and not drop_empty_classes:
        raise ClassLayoutError(
            f"{next(iter(empty.values()))}: no image in this class folder; expected files ending in {', '.join(SUFFIXES)}. Remove the "
            "folder, or drop empty classes."
        )
    kept = [number for number, name in enumerate(class_names) if name not in empty]
    if len(kept) < 2:
        raise ClassLayoutError(
            f"{root}: two classes with images are needed, found {[class_names[number] for number in kept]}."
        )
    renumbered = np.full(len(class_names), -1, dtype="int32")
    renumbered[kept] = np.arange(len(kept))
    chosen = renumbered[np.asarray(labels, dtype="int32")]
    if (chosen < 0).any():
        raise ClassLayoutError(f"{root}: {sorted(empty)} have images, but none to train on.")
    return Listing(
        root=root,
        class_names=tuple(class_names[number] for number in kept),
        paths=paths,
        labels=chosen,
        splits=np.asarray(splits, dtype="int8"),
        rejected=tuple(walk.rejected),
        skipped=tuple(walk.skipped),
        ignored=dict(walk.ignored),
    )


def _name(folder: Path) -> str:
    name = unicodedata.normalize("NFC", folder.name)
    if _is_no_text(name):
        raise ClassLayoutError(
            f"{folder.parent}: the folder name {folder.name!a} is no text in this system's encoding; rename it."
        )
    return name


def _is_no_text(name: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in name)
