"""Finds the shards that a source names: files, patterns such as `shards-{0000..0099}.tar`, and folders of them."""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vit_keras.data.images.signatures import USUAL_SUFFIXES
from vit_keras.data.scan.walk import is_ignored
from vit_keras.data.shards.parquet_index import holds_images
from vit_keras.data.split_names import SPLITS, match_splits, parse_affixed_split, parse_split
from vit_keras.data.tables.list_tables import name_tables
from vit_keras.errors import ClassLayoutError, DataError
from vit_keras.reporting.text import plural
from vit_keras.validation import list_words

TAR, TFRECORD, PARQUET = "tar", "TFRecord", "Parquet"
_KINDS = (
    (re.compile(r"\.tar$|\.(tar\.)?(gz|tgz|bz2|xz|zst)$|\.t[gbx]z2?$", re.IGNORECASE), TAR),
    (re.compile(r"\.tfrec(ord)?s?(-\d+-of-\d+)?$|(^|[-_])[a-z]+-\d{5}-of-\d{5}$", re.IGNORECASE), TFRECORD),
    (re.compile(r"\.(parquet|pq)$", re.IGNORECASE), PARQUET),
)
_COMPRESSED = re.compile(r"\.(gz|tgz|bz2|xz|zst)$", re.IGNORECASE)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_DEEPEST = 2  # folders below the one that is given
_MOST_LISTED = 5


@dataclass(frozen=True)
class ShardFile:
    """A shard, its kind, and the split it is of ("" for none)."""

    path: Path
    kind: str
    split: str = ""


def find_kind(name: str) -> str | None:
    """Returns the kind of shard that a file name stands for, or None.

    >>> find_kind("train-0001.tar"), find_kind("train-00000-of-01024"), find_kind("pets-train.tfrecord-00000-of-00001")
    ('tar', 'TFRecord', 'TFRecord')
    >>> find_kind("data.parquet"), find_kind("cat.jpg")
    ('Parquet', None)
    """
    base = os.path.basename(name)
    if _COMPRESSED.search(base) and not re.search(r"\.(tar\.\w+|t[gbx]z2?)$", base, re.IGNORECASE):
        return None
    return next((kind for pattern, kind in _KINDS if pattern.search(base)), None)


def name_shards(source: object) -> bool:
    """Whether a source names tar or TFRecord files, or Parquet files with images in them, by what it is called; a folder doesn't."""
    if isinstance(source, Mapping):
        return bool(source) and all(name_shards(each) for each in source.values())
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(each, str | os.PathLike) and name_shards(each) for each in source)
    if not isinstance(source, str | os.PathLike):
        return False
    name = os.fspath(source)
    kind = find_kind(name)
    if kind is None or os.path.isdir(name):
        return False
    return kind != PARQUET or any(map(holds_images, _expand(name)[:1]))


def name_source(source: Any) -> str:
    """Returns the name of a folder, of shards, of a table, or of one of these per split."""
    if isinstance(source, list | tuple):
        return ", ".join(map(str, source[:3])) + (", ..." if len(source) > 3 else "")
    return name_tables(source)


def find_shards(source: Any, splits: Mapping[str, str] | None = None) -> list[ShardFile] | None:
    """Returns the shards that a source names, in the order of their names, with their splits; None if it names none.

    Splits are those of a mapping's keys; else of folders and names such as `train/0001.tar` or `pets-train-0001.tar`, if these name
    the training images and others. `splits` states the split of each folder or start of a name; {} for none.

    Raises:
        DataError: Files are missing, compressed, or of several kinds.
        ClassLayoutError: The splits of only some shards are known.
    """
    if isinstance(source, Mapping):
        return _find_by_split(source, splits) if name_shards(source) else None
    if name_shards(source):
        names = source if isinstance(source, list | tuple) else [source]
        paths = [path for name in names for path in _find_named(os.fspath(name))]
        root = Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))
    elif isinstance(source, str | os.PathLike) and os.path.isdir(source):
        root = Path(os.path.abspath(source))
        paths = _find_in_folder(root)
        if not paths:
            return None
    else:
        return None
    return _assign_splits(root, _check_kinds(root, [Path(os.path.abspath(path)) for path in paths]), splits)


def _find_by_split(source: Mapping[str, Any], splits: Mapping[str, str] | None) -> list[ShardFile]:
    found = match_splits(source, "These shards", splits or None)
    if "train" not in found or len(found) < len(source):
        raise DataError(
            f"Shards of splits have the keys train, validation and test, of which train is required; got {list_words(source)}."
        )
    shards = [
        ShardFile(each.path, each.kind, split)
        for split in SPLITS
        if split in found
        for each in find_shards(source[found[split]], {}) or ()
    ]
    _check_kinds("These shards", [shard.path for shard in shards])
    return shards


def _find_named(name: str) -> list[Path]:
    paths = [Path(each).expanduser() for each in _expand(name)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - _MOST_LISTED:,} more" if len(missing) > _MOST_LISTED else ""
        what = "there is no such file" if len(paths) == 1 else f"{len(missing):,} of {len(paths):,} shards are missing"
        raise DataError(f"{name}: {what}: {', '.join(map(str, missing[:_MOST_LISTED]))}{more}.")
    return paths


def _expand(name: str) -> list[str]:
    """Returns the names that a pattern with braces, `*` or `?` stands for; the name itself, if it is none.

    >>> _expand("a-{08..11}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'a-11.tar']
    """
    braces = _BRACES.search(name)
    if braces is None or os.path.exists(name):
        if glob.has_magic(name) and not os.path.exists(name):
            return sorted(glob.glob(os.path.expanduser(name))) or [name]
        return [name]
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        width = len(numbers[1])
        words = [f"{number:0{width}d}" for number in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        words = braces[1].split(",")
    parts = (name[: braces.start()] + word + name[braces.end() :] for word in words)
    return list(itertools.chain.from_iterable(map(_expand, parts)))


def _find_in_folder(root: Path) -> list[Path]:
    """Returns the shards in a folder and the folders in it; none where these hold image files."""
    found: list[Path] = []
    for path in _walk(root, _DEEPEST):
        if path.name.lower().endswith(USUAL_SUFFIXES):
            return []
        if find_kind(path.name) is not None:
            found.append(path)
    parquet = [path for path in found if find_kind(path.name) == PARQUET]
    if parquet and not all(map(holds_images, parquet)):
        found = [path for path in found if path not in set(parquet)]
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted((each for each in os.scandir(folder) if not is_ignored(each.name)), key=lambda each: each.name)
    except OSError:  # reported when the folder is listed
        return
    yield from (Path(each.path) for each in entries if each.is_file())
    if depth:
        for each in entries:
            if each.is_dir(follow_symlinks=False):
                yield from _walk(Path(each.path), depth - 1)


def _check_kinds(source: object, paths: Sequence[Path]) -> list[ShardFile]:
    shards = [ShardFile(path, find_kind(path.name) or TAR) for path in paths]
    kinds = {shard.kind: shard.path for shard in reversed(shards)}
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} ({path.name})" for kind, path in kinds.items())
        raise DataError(f"{source}: there are shards of several kinds, {shown}; pass those of one kind.")
    return shards


def _assign_splits(root: Path, shards: list[ShardFile], splits: Mapping[str, str] | None) -> list[ShardFile]:
    """Returns the shards with their splits; without, if they are all of one split."""
    found = [_find_split(shard.path, root, splits) for shard in shards]
    if len(set(found)) < 2:
        return shards
    unknown = [shard.path.name for shard, split in zip(shards, found, strict=True) if not split]
    if unknown and splits is not None:
        raise ClassLayoutError(f"{root}: splits={dict(splits)} names no split of {list_words(unknown[:_MOST_LISTED])}.")
    if unknown or "train" not in found:
        what = f"{plural(len(unknown), 'shard')} are of no split" if unknown else "there are no training shards"
        raise ClassLayoutError(
            f"{root}: {what}{f', such as {unknown[0]}' if unknown else ''}, but others are of {list_words(sorted(set(found) - {''}))}. "
            "Name train, validation or test in each file or folder, or state it with ReadOptions(splits={'NAME': 'train', ...}), or with "
            "ReadOptions(splits={}) to draw them."
        )
    return [ShardFile(shard.path, shard.kind, split) for shard, split in zip(shards, found, strict=True)]


def _find_split(path: Path, root: Path, splits: Mapping[str, str] | None) -> str:
    inside = path.relative_to(root).parts if path.is_relative_to(root) else path.parts[-1:]
    if splits is not None:
        stated = (split for name, split in splits.items() if name in inside[:-1] or inside[-1].startswith(name))
        return next(stated, "")
    for name in inside[:-1]:
        if split := parse_split(name):
            return split
    affixed = parse_affixed_split(inside[-1])
    return affixed[0] if affixed else ""
