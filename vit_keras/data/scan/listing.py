"""Lists the image files of a folder of class folders."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vit_keras.data.class_names import check_same_classes, describe_order
from vit_keras.data.scan.layout import IMAGE_FILES, class_name, find_class_folders, find_class_names
from vit_keras.data.scan.members import Members
from vit_keras.data.scan.walk import Walk
from vit_keras.data.split_names import SPLITS
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError, StorageError
from vit_keras.validation import list_words


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of a data set, by name."""

    root: Path
    class_names: tuple[str, ...]  # in the order of the labels; of a regression, the names of the targets
    paths: list[str]  # relative to `root` or absolute, with `/` as separator
    labels: np.ndarray  # of the task: (count,) int32, (count, classes) uint8 0 or 1, or (count, targets) float32
    splits: np.ndarray  # (count,), int8, indices into `SPLITS`; -1 if the source has no splits
    rejected: tuple[tuple[str, str], ...] = ()  # path and reason of image files that can't be used
    skipped: tuple[tuple[str, str], ...] = ()  # path and reason of links, pipes, images in no class folder
    ignored: dict[str, int] = field(default_factory=dict)  # number of files that are not images, by suffix
    outside: tuple[str, ...] = ()  # links followed out of the folder
    folders: dict[str, tuple[int, int]] = field(default_factory=dict)  # label and split of each class folder, by path
    decisions: tuple[str, ...] = ()  # sentences on how folders or columns were understood, unless that is obvious
    task: str = "single_label"  # one of `TASKS`
    table: Path | None = None  # what lists the files, if not the folder itself
    members: Members | None = None  # where the images are in shards, if they are no files of their own

    def find_part(self, index: int) -> tuple[str, int, int | None]:
        """Returns the file that an image is in, and offset and length (bytes) of its part of it; no length for the whole file."""
        if self.members is not None:
            return self.members.find_part(index)
        return str(self.root / self.paths[index]), 0, None


def list_with_clear_labels(list_images: Callable[..., Listing], *, required: bool = False) -> Listing:
    """Returns what a function lists; without labels, `labeled=False`, where it isn't clear which ones the images have.

    With `required`, that is an error.
    """
    try:
        return list_images()
    except DataError:
        if required:
            raise
    return list_images(labeled=False)


def list_folder(
    root: Path,
    *,
    follow_links: bool = False,
    drop_empty_classes: bool = False,
    class_names: tuple[str, ...] | None = None,
    splits: Mapping[str, str] | None = None,
) -> Listing:
    """Returns the files of `root/CLASS/*.jpg`, or of `root/train/CLASS/*.jpg` and its siblings `validation` and `test`.

    Subfolders of a class folder belong to the class. Hidden files and leftovers of operating systems are ignored.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder.")
    walk = Walk(root, follow_links=follow_links)
    try:
        sources, decisions = find_class_folders(root, walk, splits)
    except OSError as error:
        raise StorageError(f"{root}: could not be read ({error}).") from error
    names = find_class_names(root, sources, walk, class_names)
    decisions += describe_order(names, class_names)
    listing = _list_files(sources, names, walk, drop_empty_classes=drop_empty_classes, decisions=decisions)
    if class_names is not None:
        check_same_classes(listing.class_names, class_names, root)  # some may have been dropped
    return listing


class _Files:
    """The files found so far, in runs of the same kind: label and split."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.paths: list[str] = []
        self.runs: list[tuple[int, int, int]] = []  # label, split, number of files
        self.counts: Counter[tuple[int, int]] = Counter()  # files of each kind, usable or not
        self._links: list[tuple[str, tuple[int, int]]] = []

    def add_folder(self, folder: Path, kind: tuple[int, int]) -> None:
        """Adds the images of a class folder, without those behind links."""
        try:
            self._add(self.walk.images, str(folder), kind)
        except OSError as error:
            raise DataError(f"{folder}: this class folder could not be read ({error.strerror or error}).") from error

    def follow_links(self) -> None:
        """Adds the images behind links, after all others."""
        for link, kind in self._links:  # grows while links lead to links
            self._add(self.walk.follow, link, kind)

    def _add(self, find: Callable[[str, list[str]], Iterator[str]], place: str, kind: tuple[int, int]) -> None:
        before, rejected, links = len(self.paths), len(self.walk.rejected), list[str]()
        self.paths.extend(find(place, links))
        self._links.extend((link, kind) for link in links)
        self.runs.append((*kind, len(self.paths) - before))
        self.counts[kind] += len(self.paths) - before + len(self.walk.rejected) - rejected


def _list_files(
    sources: dict[str, list[Path]],
    class_names: tuple[str, ...],
    walk: Walk,
    *,
    drop_empty_classes: bool,
    decisions: tuple[str, ...],
) -> Listing:
    root, files = walk.root, _Files(walk)
    kinds = {
        folder: (class_names.index(class_name(folder)), SPLITS.index(split) if split else -1)
        for split, folders in sources.items()
        for folder in folders
    }
    for folder, kind in kinds.items():
        files.add_folder(folder, kind)
    files.follow_links()
    if not files.counts.total():
        ignored = ", ".join(f"{count} {word}" for word, count in walk.ignored.most_common()) or "nothing"
        raise EmptyDatasetError(f"{root}: no image in any class folder; expected {IMAGE_FILES}, found {ignored}.")
    empty = [folder for folder, kind in kinds.items() if not files.counts[kind]]
    if empty and not drop_empty_classes:
        more = f" The same is true of {[walk.relative(folder) for folder in empty[1:11]]}." if len(empty) > 1 else ""
        raise ClassLayoutError(
            f"{empty[0]}: no image in this class folder; expected {IMAGE_FILES}. Remove the folder, or drop empty classes with "
            f"ReadOptions(drop_empty_classes=True) or --drop-empty-classes.{more}"
        )
    dropped = {kinds[folder][0] for folder in empty if kinds[folder][1] <= 0}  # those without a training image
    labels, splits, counts = np.asarray(files.runs, dtype="int32").T
    for label in dropped & set(labels[counts > 0]):
        raise ClassLayoutError(f"{root}: the class {class_names[label]!r} has images, but no training images.")
    kept = [label for label in range(len(class_names)) if label not in dropped]
    if len(kept) < 2:
        raise ClassLayoutError(
            f"{root}: at least two classes with images are needed, found {list_words(class_names[label] for label in kept)}."
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
        decisions=decisions,
    )
