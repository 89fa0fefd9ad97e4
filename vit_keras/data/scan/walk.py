"""Walks folders and finds the image files in them; opens only files whose names do not tell."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vit_keras.data.images.signatures import USUAL_SUFFIXES, inspect_start

NO_SUFFIX = "no suffix"
_UNSUPPORTED_SUFFIXES = (
    ".heic", ".heif", ".jxl", ".jp2", ".ico", ".svg", ".psd", ".dcm", ".raw", ".cr2", ".cr3", ".raf", ".nef", ".arw", ".dng", ".exr",
)  # fmt: skip
_IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")
_LINK, _SPECIAL, _LISTED = (
    "a symbolic link, not followed",
    "neither a file nor a folder",
    "a link to something already listed",
)


class Walk:
    """Walks folders below a root and records what is not listed; a file is listed once, however many links lead to it."""

    def __init__(self, root: Path, *, follow_links: bool) -> None:
        self.root, self.follow_links = root, follow_links
        self.rejected: list[tuple[str, str]] = []  # path and reason of image files that can't be used
        self.skipped: list[tuple[str, str]] = []  # path and reason of what is not listed because of its kind or place
        self.outside: list[str] = []  # links followed out of the root
        self.ignored: Counter[str] = Counter()  # number of files that are not images, by suffix
        self.loose = 0  # images outside class folders
        self._seen = {_identify(root)}

    def relative(self, path: Path | str) -> str:
        """Returns a path relative to the root, with `/` as separator."""
        return Path(path).relative_to(self.root).as_posix()

    def folders(self, folder: Path) -> list[Path]:
        """Returns the folders in a folder that should contain nothing else."""
        files, others = self._scan(folder)
        for path in self._find_images(folder, files):
            self.loose += 1
            self.skipped.append((path, "in no class folder"))
        found = []
        # Folders come before links to them.
        for entry in sorted(others, key=lambda entry: (entry.is_symlink(), entry.name)):
            if entry.is_symlink() and not self.follow_links:
                self.skipped.append((self.relative(entry.path), _LINK))
            elif not entry.is_dir():
                self.skipped.append((self.relative(entry.path), _SPECIAL))
            elif self._is_new(entry.path):
                self._note_outside(entry.path)
                found.append(Path(entry.path))
        return found

    def images(self, folder: str, links: list[str]) -> Iterator[str]:
        """Yields the relative paths of the images in a folder and its subfolders, and adds the links in it to `links`."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            try:
                files, others = self._scan(current)
            except OSError as error:
                if current == folder:
                    raise
                self.rejected.append((self.relative(current), (error.strerror or str(error)).lower()))
                continue
            yield from self._find_images(current, files)
            subfolders = []
            for entry in others:
                if entry.is_symlink():
                    if self.follow_links:
                        links.append(entry.path)
                    else:
                        self.skipped.append((self.relative(entry.path), _LINK))
                elif not entry.is_dir(follow_symlinks=False):
                    self.skipped.append((self.relative(entry.path), _SPECIAL))
                elif self._is_new(entry.path):
                    subfolders.append(entry.path)
            waiting.extend(reversed(subfolders))

    def follow(self, link: str, links: list[str]) -> Iterator[str]:
        """Yields the relative paths of the images that a link leads to, and adds the links in there to `links`."""
        try:
            mode = os.stat(link).st_mode
        except OSError:
            self.skipped.append((self.relative(link), "a broken link"))
            return
        self._note_outside(link)
        if stat.S_ISREG(mode):
            yield from self._find_images(os.path.dirname(link), [os.path.basename(link)])
        elif not stat.S_ISDIR(mode):
            self.skipped.append((self.relative(link), _SPECIAL))
        elif self._is_new(link):
            try:
                yield from self.images(link, links)
            except OSError as error:
                self.rejected.append((self.relative(link), (error.strerror or str(error)).lower()))

    def _scan(self, folder: Path | str) -> tuple[list[str], list[os.DirEntry[str]]]:
        """Returns the names of the files in a folder and its other entries, both sorted, without ignored ones."""
        files, others = [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_ignored(entry.name):
                    self.ignored["hidden" if entry.name.startswith(".") else entry.name] += 1
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
                else:
                    others.append(entry)
        return sorted(files), sorted(others, key=lambda entry: entry.name)

    def _find_images(self, folder: Path | str, names: Iterable[str]) -> Iterator[str]:
        """Yields the relative paths of the images among files, recognized by their suffix or else by their first bytes."""
        parent = self.relative(folder)
        for name in names:
            path = name if parent == "." else f"{parent}/{name}"
            suffix = os.path.splitext(name)[1].lower()
            reason = "" if suffix in USUAL_SUFFIXES else inspect_start(os.path.join(folder, name))
            if reason is None and suffix in _UNSUPPORTED_SUFFIXES:
                reason = f"unsupported format: {suffix}; convert it to PNG or JPEG"
            if reason is None:
                self.ignored[suffix or NO_SUFFIX] += 1
            elif reason:
                self.rejected.append((path, reason))
            elif is_undecodable(name):
                self.rejected.append((path, "its name is not valid in this system's encoding; rename it"))
            elif self._is_new(os.path.join(folder, name)):
                yield path

    def _is_new(self, path: str) -> bool:
        """Whether a file or folder was not reached before; without links there is only one way to it."""
        if not self.follow_links:
            return True
        key = _identify(path)
        if key in self._seen:
            self.skipped.append((self.relative(path), _LISTED))
            return False
        self._seen.add(key)
        return True

    def _note_outside(self, path: str) -> None:
        if os.path.islink(path) and not Path(path).resolve().is_relative_to(self.root.resolve()):
            self.outside.append(self.relative(path))


def is_ignored(name: str) -> bool:
    """Whether an entry of a folder is hidden or a leftover of an operating system."""
    return name in _IGNORED or name.startswith(".")


def is_undecodable(name: str) -> bool:
    """Whether the operating system's name of a file is not valid text."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _identify(path: Path | str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
