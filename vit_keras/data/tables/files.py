"""Finds the file that a cell of a table names: a path, or a name without its ending or its folder."""

import os
import re
from collections.abc import Mapping, Sequence
from operator import attrgetter, methodcaller
from pathlib import Path, PurePosixPath
from typing import Any

from vit_keras.data.images.signatures import USUAL_SUFFIXES
from vit_keras.data.scan.walk import is_ignored

_WORTH_LISTING = 64  # cells that name files in the same folder
_URL = re.compile(r"(https?|s3|gs|hdfs)://")


class FileFinder:
    """Finds files from one folder on; remembers the folders it has looked into."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._real_folder = os.path.realpath(folder)
        self._names: dict[str, dict[str, list[str]]] = {}  # by folder and name without ending
        self._real_parents: dict[str, str] = {}
        self._below: dict[str, list[str]] | None = None  # paths in direct subfolders, by name with and without ending

    def find_all(self, cells: Sequence[Any], folders: Mapping[str, int]) -> tuple[Sequence[str | None], set[int]]:
        """Returns what `find` returns for each cell, and the indices of those that `is_outside` says are.

        A folder that many cells name is listed, which is faster than to ask for each file; `folders` are those in the cells, with the
        number of their cells.
        """
        files: set[str] = set()
        for parent, count in folders.items():
            if count >= _WORTH_LISTING and _is_plain(parent) and not self._is_outside_folder(parent):
                files.update(self._list_files(parent))
        if set(map(type, cells)) == {str} and files.issuperset(cells):
            return cells, set()
        found = [cell if isinstance(cell, str) and cell in files else None for cell in cells]
        outside = set()
        for index in [index for index, path in enumerate(found) if path is None]:
            path = found[index] = self.find(cells[index])
            if path and self.is_outside(path):
                outside.add(index)
        return found, outside

    def _list_files(self, parent: str) -> list[str]:
        """Returns the paths of the files in a folder that are no links."""
        start = f"{parent}/" if parent else ""
        try:
            with os.scandir(os.path.join(self.folder, parent)) as entries:
                files = filter(methodcaller("is_file", follow_symlinks=False), entries)
                return list(map(start.__add__, map(attrgetter("name"), files)))
        except (OSError, ValueError):
            return []

    def _is_outside_folder(self, parent: str) -> bool:
        return self.is_outside(os.path.join(parent, "_") if parent else "_")

    def find(self, cell: Any) -> str | None:
        """Returns the path of a file, from the folder on if it is below it, with `/` as separator; None if there is no such file."""
        if not isinstance(cell, str) or not cell or "\0" in cell:
            return None
        spellings = [cell.removeprefix("file://")]
        if "\\" in cell:
            spellings.append(cell.replace("\\", "/"))  # a table made on Windows
        for path in spellings:
            if os.path.isfile(os.path.join(self.folder, path)):
                return self._relative(path)
        for path in spellings:
            found = self._find_endings(path) or self._find_below(path)
            if len(found) == 1:
                return self._relative(found[0])
        return None

    def explain(self, cell: Any) -> str:
        """Returns why `find` finds no file for a cell, and what may be meant."""
        if not isinstance(cell, str):
            return f"the cell is {type(cell).__name__}, not a path; images inside a table can't be read: write them to files"
        if not cell:
            return "no path"
        if _URL.match(cell):
            return "an address on the network; download the files, and name them in the table"
        path = cell.replace("\\", "/")
        found = self._find_endings(path) or self._find_below(path)
        if found:
            names = f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''}"
            return f"several files have this name: {names}; state the path with its ending"
        full = os.path.join(self.folder, path)
        if os.path.isdir(full):
            return "a folder, not a file"
        parent, name = os.path.split(full)
        same = [each for names in self._list(parent).values() for each in names if each.casefold() == name.casefold()]
        return f"there is no such file{f'; there is {same[0]!r}' if same else ''}"

    def is_outside(self, path: str) -> bool:
        """Whether a file that was found is outside the folder, or a link that leads out of it."""
        parent, name = os.path.split(os.path.join(self.folder, path))
        if parent not in self._real_parents:
            self._real_parents[parent] = os.path.realpath(parent)
        real = os.path.join(self._real_parents[parent], name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        return not real.startswith(os.path.join(self._real_folder, ""))

    def _relative(self, path: str) -> str:
        path = str(PurePosixPath(path)) if "//" in path or "./" in path else path
        if os.path.isabs(path) and "/../" not in path:
            for folder in (str(self.folder), self._real_folder):
                if path.startswith(f"{folder}/"):
                    return path[len(folder) + 1 :]
        return path

    def _find_endings(self, path: str) -> list[str]:
        """Returns the image files that a path names without their ending."""
        parent, name = os.path.split(path)
        names = self._list(os.path.join(self.folder, parent)).get(name, ())
        return [os.path.join(parent, each) for each in names if each != name]

    def _find_below(self, name: str) -> list[str]:
        """Returns the image files in direct subfolders that a bare name stands for."""
        if "/" in name:
            return []
        if self._below is None:
            self._below = {}
            for folder in _list_folders(self.folder):
                for stem, names in self._list(os.path.join(self.folder, folder)).items():
                    for each in names:
                        for key in {stem, each}:
                            self._below.setdefault(key, []).append(f"{folder}/{each}")
        return self._below.get(name, [])

    def _list(self, folder: str) -> dict[str, list[str]]:
        """Returns the image files in a folder by their name without ending."""
        if folder not in self._names:
            found: dict[str, list[str]] = {}
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):
                names = []
            for name in names:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in USUAL_SUFFIXES and not is_ignored(name):
                    found.setdefault(stem, []).append(name)
            self._names[folder] = found
        return self._names[folder]


def _is_plain(parent: str) -> bool:
    """Whether a folder is relative and spelled as paths here are, so that a path in it is returned as it is."""
    return not parent or not (
        parent.startswith(("/", "file:"))
        or "\\" in parent
        or "\0" in parent
        or {"", ".", ".."} & set(parent.split("/"))
    )


def _list_folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not is_ignored(entry.name))
    except OSError:
        return []
