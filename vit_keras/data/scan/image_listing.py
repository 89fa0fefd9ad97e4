"""Lists all images of folders, at any depth, whatever the folders are called."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vit_keras.data.scan.layout import IMAGE_FILES
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.walk import Walk
from vit_keras.data.split_names import SPLITS, parse_split
from vit_keras.data.tasks import UNLABELED
from vit_keras.errors import DataError, EmptyDatasetError, StorageError


def list_images(sources: Sequence[Path], *, follow_links: bool = False) -> Listing:
    """Returns the images of folders and their subfolders, and single files, each once, without labels.

    Hidden files and leftovers of operating systems are ignored. Where one folder is given that has folders "train" and "test", or names
    that mean the same, the images of the latter have the test split.

    Raises:
        DataError: A folder or file does not exist.
        EmptyDatasetError: There is no image.
    """
    missing = [str(source) for source in sources if not source.exists()]
    if missing:
        raise DataError(f"{', '.join(missing)}: there is no such folder or file.")
    only_folder = sources[0] if len(sources) == 1 and sources[0].is_dir() else None
    root = only_folder or Path(os.path.commonpath([os.path.abspath(source.parent) for source in sources]))
    walk = Walk(root, follow_links=follow_links)
    paths: dict[str, None] = {}
    links: list[str] = []
    repeated = 0
    for source in sources:
        place = str(source if only_folder else Path(os.path.abspath(source)))
        try:
            found = list(walk.images(place, links) if source.is_dir() else walk.follow(place, links))
        except OSError as error:
            raise StorageError(f"{source}: could not be read ({error.strerror or error}).") from error
        repeated += sum(path in paths for path in found)
        paths.update(dict.fromkeys(found))
    for link in links:  # grows while links lead to links
        paths.update(dict.fromkeys(walk.follow(link, links)))
    if not paths and not walk.rejected:
        ignored = ", ".join(f"{count} {word}" for word, count in walk.ignored.most_common()) or "nothing"
        shown = ", ".join(map(str, sources[:3])) + (", ..." if len(sources) > 3 else "")
        raise EmptyDatasetError(f"{shown}: there is no image; expected {IMAGE_FILES}, found {ignored}.")
    return Listing(
        root=root,
        class_names=(),
        paths=list(paths),
        labels=np.zeros(len(paths), "int32"),
        splits=_find_splits(list(paths)) if only_folder else np.full(len(paths), -1, "int8"),
        rejected=tuple(walk.rejected),
        skipped=tuple(walk.skipped),
        ignored=dict(walk.ignored),
        outside=tuple(walk.outside),
        decisions=(f"images that are listed twice are read once: {repeated:,}",) if repeated else (),
        task=UNLABELED,
        table=None if only_folder else root / _name_together(sources),
    )


def _name_together(sources: Sequence[Path]) -> str:
    """Returns a name for several folders and files, by which their manifest is found again."""
    whole = "\0".join(os.path.abspath(source) for source in sources)
    return hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]


def _find_splits(paths: list[str]) -> np.ndarray:
    """Returns the split of each path by its first folder: 2 for "test" where there is a "train", too, else -1."""
    firsts = [path.partition("/")[0] if "/" in path else "" for path in paths]
    parsed = {first: parse_split(first) for first in set(firsts) if first}
    if not {"train", "test"} <= set(parsed.values()):
        return np.full(len(paths), -1, "int8")
    test = SPLITS.index("test")
    return np.asarray([test if parsed.get(first) == "test" else 0 for first in firsts], "int8")
