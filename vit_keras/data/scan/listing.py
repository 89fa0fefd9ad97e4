"""Lists the image files of a folder of class folders: no file is opened whose name says that it is an image."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vit_keras.data.images.signatures import FORMATS, USUAL_SUFFIXES, judged
from vit_keras.data.sources.class_names import check_complete, decided_order, ordered
from vit_keras.data.sources.split_names import SPLITS, affixed_split_of, decided, named_splits, split_of
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError, StorageError

_OTHER_SUFFIXES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".ico", ".svg", ".psd", ".raw", ".cr2", ".nef", ".arw", ".dng", ".exr",
)  # fmt: skip
"""Of images that are not read; what is none of these and no usual name is known by its first bytes."""
IMAGE_FILES = f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]} files"
_IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")
NO_ENDING = "without ending"
_LINK, _NO_FILE = "a symbolic link, not followed", "neither a file nor a folder"


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of a data set, by name.

    Args:
        root: The folder that paths are relative to.
        class_names: In the order of the labels.
        paths: Relative to `root`, with `/` between.
        labels: `(count,)`, int32, indices into the class names.
        splits: `(count,)`, int8, indices into `SPLITS`; -1 where the source has no splits.
        rejected: Image files that can't be used, each a path and a reason.
        skipped: What was passed over for what or where it is: links, pipes, images in no class folder; each a path and a reason.
        ignored: Counts of files that are no images, by kind.
        outside: Links that were followed out of the folder.
        folders: Label and split (-1 for none) of each class folder, by its path relative to `root`.
        decisions: How folders or columns were understood where that is not plain, in words.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: list[str]
    labels: np.ndarray
    splits: np.ndarray
    rejected: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)
    outside: tuple[str, ...] = ()
    folders: dict[str, tuple[int, int]] = field(default_factory=dict)
    decisions: tuple[str, ...] = ()


def list_folder(
    root: Path,
    *,
    follow_links: bool = False,
    drop_empty_classes: bool = False,
    class_names: tuple[str, ...] | None = None,
    splits: Mapping[str, str] | None = None,
) -> Listing:
    """Returns the files of `root/CLASS/*.jpg`, or of `root/train/CLASS/*.jpg` and its siblings `validation` and `test`.

    Folders inside a class folder belong to the class. What starts with a dot, and what systems leave behind, is ignored.

    Args:
        root: The folder.
        follow_links: Whether symbolic links are followed; each file is listed once whatever links to it.
        drop_empty_classes: Whether a class folder without images is left out; else it is refused.
        class_names: The classes in the order of the labels; None for natural order.
        splits: Which folder is which split; empty for none, None to go by the names.

    Raises:
        EmptyDatasetError: There are no images.
        ClassLayoutError: The folders make no classes: fewer than two, names that collide, a split without its classes, or folders
            that look like splits and are not known as such.
        DataError: There is no such folder, or a class folder can't be read.
        StorageError: The folder itself can't be read.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder.")
    walk = _Walk(root, follow_links)
    try:
        sources = _split_folders(root, walk, splits)
    except OSError as error:
        raise StorageError(f"{root}: could not be read ({error}).") from error
    names = _class_names(root, sources, walk, class_names)
    walk.decisions += decided_order(names, class_names)
    listing = _listed(root, sources, names, walk, drop_empty_classes=drop_empty_classes)
    if class_names is not None:
        check_complete(listing.class_names, class_names, root)  # some may have been dropped
    return listing


class _Walk:
    """Goes through folders, and notes what it passes over."""

    def __init__(self, root: Path, follow_links: bool) -> None:
        self.root, self.follow_links = root, follow_links
        self.rejected: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self.outside: list[str] = []
        self.decisions: list[str] = []
        self.ignored: Counter[str] = Counter()
        self.loose = 0
        self._seen = {_identity(root)}

    def relative(self, path: Path | str) -> str:
        return Path(path).relative_to(self.root).as_posix()

    def folders(self, folder: Path) -> list[Path]:
        """Returns the folders in a folder that is to hold nothing else."""
        files, others = self._entries(folder)
        for path in self._images_among(folder, files):
            self.loose += 1
            self.skipped.append((path, "in no class folder"))
        kept = []
        for entry in sorted(
            others, key=lambda entry: (entry.is_symlink(), entry.name)
        ):  # what is there beats links to it
            if entry.is_symlink() and not self.follow_links:
                self.skipped.append((self.relative(entry.path), _LINK))
            elif not entry.is_dir():
                self.skipped.append((self.relative(entry.path), _NO_FILE))
            elif self._is_new(entry.path):
                self._note_outside(entry.path)
                kept.append(Path(entry.path))
        return kept

    def images(self, folder: str, links: list[str]) -> Iterator[str]:
        """Yields the relative paths of the image files in a folder and the folders inside it, and notes the links in it."""
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            try:
                files, others = self._entries(here)
            except OSError as error:
                if here == folder:
                    raise
                self.rejected.append((self.relative(here), (error.strerror or str(error)).lower()))
                continue
            yield from self._images_among(here, files)
            inner = []
            for entry in others:
                if entry.is_symlink():
                    if self.follow_links:
                        links.append(entry.path)
                    else:
                        self.skipped.append((self.relative(entry.path), _LINK))
                elif not entry.is_dir(follow_symlinks=False):
                    self.skipped.append((self.relative(entry.path), _NO_FILE))
                elif self._is_new(entry.path):
                    inner.append(entry.path)
            waiting.extend(reversed(inner))

    def behind(self, link: str, links: list[str]) -> Iterator[str]:
        """Yields the relative paths of the image files that a link leads to, and notes the links in there."""
        try:
            kind = os.stat(link).st_mode
        except OSError:
            self.skipped.append((self.relative(link), "a link that leads nowhere"))
            return
        self._note_outside(link)
        if stat.S_ISREG(kind):
            yield from self._images_among(os.path.dirname(link), [os.path.basename(link)])
        elif not stat.S_ISDIR(kind):
            self.skipped.append((self.relative(link), _NO_FILE))
        elif self._is_new(link):
            try:
                yield from self.images(link, links)
            except OSError as error:
                self.rejected.append((self.relative(link), (error.strerror or str(error)).lower()))

    def _entries(self, folder: Path | str) -> tuple[list[str], list[os.DirEntry[str]]]:
        """Returns the names of the files in a folder, and what else is in it, in order, without what is ignored."""
        files, others = [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in _IGNORED:
                    self.ignored[entry.name] += 1
                elif entry.name.startswith("."):
                    self.ignored["hidden"] += 1
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
                else:
                    others.append(entry)
        return sorted(files), sorted(others, key=lambda entry: entry.name)

    def _images_among(self, folder: Path | str, names: Iterable[str]) -> Iterator[str]:
        """Yields the relative paths of the images among files, which are those that their names promise or their first bytes are."""
        place = self.relative(folder)
        for name in names:
            path = name if place == "." else f"{place}/{name}"
            suffix = os.path.splitext(name)[1].lower()
            reason = "" if suffix in USUAL_SUFFIXES else judged(os.path.join(folder, name))
            if reason is None and suffix in _OTHER_SUFFIXES:
                reason = f"unsupported format: {suffix} is not read; convert it to PNG or JPEG"
            if reason is None:
                self.ignored[suffix or NO_ENDING] += 1
            elif reason:
                self.rejected.append((path, reason))
            elif _is_no_text(name):
                self.rejected.append((path, "its name is no text in this system's encoding; rename it"))
            elif self._is_new(os.path.join(folder, name)):
                yield path

    def _is_new(self, path: str) -> bool:
        """Whether it was not met before by another way; without links there is one way alone."""
        if not self.follow_links:
            return True
        key = _identity(path)
        if key in self._seen:
            self.skipped.append((self.relative(path), "a link to what is listed already"))
            return False
        self._seen.add(key)
        return True

    def _note_outside(self, path: str) -> None:
        if os.path.islink(path) and not Path(path).resolve().is_relative_to(self.root.resolve()):
            self.outside.append(self.relative(path))


def _identity(path: Path | str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _split_folders(root: Path, walk: _Walk, splits: Mapping[str, str] | None) -> dict[str, list[Path]]:
    """Returns the class folders of each split, or those of the root under "" where there are no splits."""
    folders = {folder.name: folder for folder in walk.folders(root)}
    found = _found_splits(root, folders, splits)
    if not found:
        return {"": list(folders.values())}
    walk.skipped += [
        (walk.relative(folder), "a folder beside the splits")
        for name, folder in folders.items()
        if name not in found.values()
    ]
    found = {split: found[split] for split in SPLITS if split in found}
    walk.decisions += decided({name: split for split, name in found.items()}, "folders")
    return {split: _class_folders(folders[name], walk) for split, name in found.items()}


def _found_splits(root: Path, folders: Mapping[str, Path], splits: Mapping[str, str] | None) -> dict[str, str]:
    """Returns the folder of each split; none where the folders are classes."""
    if splits is not None:
        found = named_splits(folders, root, splits)
        if found and "train" not in found:
            raise ClassLayoutError(f"{root}: splits={dict(splits)} names no training images.")
        return found
    known = [name for name in folders if split_of(name)]
    training = [name for name in known if split_of(name) == "train"]
    # Beside other folders, one called "train" may as well be a class.
    if training and (len(known) == len(folders) or any(_holds_folders(folders[name]) for name in training)):
        return named_splits(known, root)
    if known and len(known) == len(folders):
        raise ClassLayoutError(
            f"{root}: {known} are there, but no train folder; expected {root.name}/train/CLASS/image.jpg."
        )
    return _affixed_splits(folders) or _no_splits(root, folders)


def _affixed_splits(folders: Mapping[str, Path]) -> dict[str, str]:
    """Returns the folders of splits called as seg_train and seg_test are; none where there are no such."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in folders:
        affixed = affixed_split_of(name)
        if affixed is not None:
            groups.setdefault(affixed[1], []).append((affixed[0], name))
    chosen = [
        group
        for group in groups.values()
        if len(group) > 1
        and len(dict(group)) == len(group)
        and "train" in dict(group)
        and all(_inner_names(folders[name]) for _, name in group)
    ]
    return dict(chosen[0]) if len(chosen) == 1 else {}


def _no_splits(root: Path, folders: Mapping[str, Path]) -> dict[str, str]:
    """Returns no splits; raises `ClassLayoutError` where folders look like splits all the same."""
    inner: list[set[str]] = []
    for folder in folders.values():
        names = _inner_names(folder)
        if not names:  # a class folder, as most are: the others need not be looked at
            return {}
        inner.append(names)
    shared = set.intersection(*inner) if len(inner) > 1 else set()
    speaking = [name for name in folders if affixed_split_of(name)]
    if len(inner) > 1 and (len(shared) > 1 or speaking):
        reason = f"each holds folders called {sorted(shared)[:5]}" if len(shared) > 1 else f"so {speaking} are called"
        raise ClassLayoutError(
            f"{root}: the folders {sorted(folders)[:10]} look like splits ({reason}), but which is which is not known. Rename them to "
            "train, validation and test, or say it: ReadOptions(splits={'NAME': 'train', ...}), or ReadOptions(splits={}) if they are classes; "
            "a CSV file with the columns path, label and split does, too."
        )
    return {}


def _inner_names(folder: Path) -> set[str]:
    """Returns the names of the folders in a folder that holds folders and no files; none where it holds files."""
    names = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in _IGNORED or entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    return set()
                names.add(entry.name)
    except OSError:  # said when its images are listed
        return set()
    return names


def _class_folders(folder: Path, walk: _Walk) -> list[Path]:
    """Returns the class folders of a split, also where they are one folder deeper, as in seg_train/seg_train/CLASS."""
    folders = walk.folders(folder)
    if len(folders) == 1 and folders[0].name.casefold() == folder.name.casefold() and _inner_names(folders[0]):
        return walk.folders(folders[0])
    return folders


def _holds_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() for entry in entries)


def _class_names(
    root: Path, sources: dict[str, list[Path]], walk: _Walk, given: tuple[str, ...] | None
) -> tuple[str, ...]:
    found = {split: [_name(folder) for folder in folders] for split, folders in sources.items()}
    for split, names in found.items():
        alike = Counter(name.strip().casefold() for name in names)
        same = [name for name in names if alike[name.strip().casefold()] > 1]
        if same:
            raise ClassLayoutError(
                f"{root / split}: some class folders differ only in case or in the spelling of accents: {same}. Rename or join them."
            )
    names = found["train" if "train" in found else ""]
    if len(names) < 2:
        raise (ClassLayoutError if names or walk.loose else EmptyDatasetError)(_too_few(root, names, sources, walk))
    for split, others in found.items():
        unknown = sorted(set(others) - set(names))
        if unknown:
            raise ClassLayoutError(
                f"{root / split}: classes {unknown} are not among the training classes {sorted(names)}."
            )
    return ordered(names, given, root)


def _too_few(root: Path, names: list[str], sources: dict[str, list[Path]], walk: _Walk) -> str:
    hint = ""
    if "train" not in sources and len(names) == 1 and _holds_folders(sources[""][0]):
        hint = f"\n{sources[''][0]} holds folders itself: is it that one?"
    return (
        f"{root}: two class folders or more are needed, found {names} and {walk.loose} images beside them. "
        f"Expected {root.name}/CLASS/image.jpg, or {root.name}/train/CLASS/image.jpg:\n"
        f"  {root.name}/\n    cat/\n      one.jpg\n      two.jpg\n    dog/\n      three.jpg\n"
        f"{IMAGE_FILES} are read, whatever they are called.{hint}"
    )


class _Files:
    """The files found so far, each with its kind: label and split."""

    def __init__(self, walk: _Walk) -> None:
        self.walk = walk
        self.paths: list[str] = []
        self.runs: list[tuple[int, int, int]] = []  # label, split, how many
        self.met: Counter[tuple[int, int]] = Counter()  # files of a kind, usable or not
        self._links: list[tuple[str, tuple[int, int]]] = []

    def take(self, folder: Path, kind: tuple[int, int]) -> None:
        """Adds the images of a class folder, but for those behind links."""
        try:
            self._add(self.walk.images, str(folder), kind)
        except OSError as error:
            raise DataError(f"{folder}: this class folder could not be read ({error.strerror or error}).") from error

    def follow(self) -> None:
        """Adds the images behind links, now that all others are known."""
        for link, kind in self._links:  # grows while links lead to links
            self._add(self.walk.behind, link, kind)

    def _add(self, find: Callable[[str, list[str]], Iterator[str]], place: str, kind: tuple[int, int]) -> None:
        before, refused, links = len(self.paths), len(self.walk.rejected), list[str]()
        self.paths.extend(find(place, links))
        self._links.extend((link, kind) for link in links)
        self.runs.append((*kind, len(self.paths) - before))
        self.met[kind] += len(self.paths) - before + len(self.walk.rejected) - refused


def _listed(
    root: Path, sources: dict[str, list[Path]], class_names: tuple[str, ...], walk: _Walk, *, drop_empty_classes: bool
) -> Listing:
    files = _Files(walk)
    kinds = {
        folder: (class_names.index(_name(folder)), SPLITS.index(split) if split else -1)
        for split, folders in sources.items()
        for folder in folders
    }
    for folder, kind in kinds.items():
        files.take(folder, kind)
    files.follow()
    if not files.met.total():
        seen = ", ".join(f"{count} {word}" for word, count in walk.ignored.most_common()) or "nothing"
        raise EmptyDatasetError(f"{root}: no image in any class folder; expected {IMAGE_FILES}, found {seen}.")
    empty = [folder for folder, kind in kinds.items() if not files.met[kind]]
    if empty and not drop_empty_classes:
        more = f" So are {[walk.relative(folder) for folder in empty[1:11]]}." if len(empty) > 1 else ""
        raise ClassLayoutError(
            f"{empty[0]}: no image in this class folder; expected {IMAGE_FILES}. Remove the folder, "
            f"or drop empty classes.{more}"
        )
    dropped = {kinds[folder][0] for folder in empty if kinds[folder][1] <= 0}  # those without an image to train on
    labels, splits, counts = np.asarray(files.runs, dtype="int32").T
    for label in dropped & set(labels[counts > 0]):
        raise ClassLayoutError(f"{root}: the class {class_names[label]!r} has images, but none to train on.")
    kept = [label for label in range(len(class_names)) if label not in dropped]
    if len(kept) < 2:
        raise ClassLayoutError(
            f"{root}: two classes with images are needed, found {[class_names[label] for label in kept]}."
        )
    return Listing(
        root=root,
        class_names=tuple(class_names[label] for label in kept),
        paths=files.paths,
        labels=np.repeat(np.searchsorted(kept, labels), counts).astype("int32"),
        splits=np.repeat(splits, counts).astype("int8"),
        rejected=tuple(walk.rejected),
        skipped=tuple(walk.skipped),
        ignored=dict(walk.ignored),
        outside=tuple(walk.outside),
        folders={
            walk.relative(folder): (kept.index(label), split)
            for folder, (label, split) in kinds.items()
            if label in kept
        },
        decisions=tuple(walk.decisions),
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
