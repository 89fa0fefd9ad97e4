"""Lists the images of shards with their labels and splits."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.class_names import describe_order
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.members import Members
from vit_keras.data.shards.parquet_index import index_parquet
from vit_keras.data.shards.shard_files import PARQUET, TAR, TFRECORD, ShardFile
from vit_keras.data.shards.shard_index import ShardIndex, open_index
from vit_keras.data.shards.tar_index import FOLDER, index_tar
from vit_keras.data.shards.tfrecord_index import index_tfrecord
from vit_keras.data.split_names import SPLITS, parse_split
from vit_keras.data.tables.columns import ColumnError, choose_label_columns
from vit_keras.data.tables.labels import RowLabels, no_labels, read_labels
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.row_splits import RowSplits, find_row_splits
from vit_keras.data.tables.table import Part, Table
from vit_keras.data.tasks import UNLABELED
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.reporting.text import plural
from vit_keras.validation import list_words

_INDEXERS = {TAR: index_tar, TFRECORD: index_tfrecord, PARQUET: index_parquet}
_FILE = "__file__"  # name of the column of names in the shards
_LABELS = ("cls", "image/class/synset", "image/class/label")  # by the conventions of their formats
_NAMES = ("class_name", "label_name", "category_name", "class_text", "label_text", "image/class/text")
_NAME_FILES = ("class_names", "classes", "labels", "label_names", "classnames")
_WORKERS = 8
_MOST_LISTED = 10


def list_shards(
    shards: Sequence[ShardFile],
    *,
    options: TableOptions | None = None,
    class_names: tuple[str, ...] | None = None,
    splits: Mapping[str, str] | None = None,
    labeled: bool = True,
) -> Listing:
    """Returns the images of shards with their labels.

    Labels are those of the field `label_column`; else of `.cls`, `image/class/label`, or a field that is named as a label; else the folders
    in the names. The splits are those of the shards; else of a field or of folders, as in a table. Class names are those that the shards
    state; else of a file such as `classes.txt` next to them, for labels that are numbers; else the labels themselves.

    Args:
        shards: Of one kind.
        options: Which fields are read, and how.
        class_names: Class names in order; by default as stated, else sorted.
        splits: The split of each value of a field, or {} for none.
        labeled: False to read no labels: the listing has the task "unlabeled".

    Raises:
        ColumnError: It is not clear which field holds the labels.
        DataError: A shard or an image can't be used.
        ClassLayoutError: The classes of the splits differ, or there are too few.
        InvalidArgumentError: An option is given that shards don't have.
    """
    options = options or TableOptions()
    if options.image_dir is not None or options.contained:
        raise InvalidArgumentError(
            f"{shards[0].path}: image_dir and contained are for tables of image files. Leave them out."
        )
    indices = _open_all(shards, options.image_column)
    root = Path(os.path.commonpath([shard.path.parent for shard in shards]))
    table = _join(shards, indices)
    row_splits = find_row_splits(table, splits, image_column=_FILE, label_columns=options.label_columns)
    labels, stated = no_labels(len(table)), tuple[str, ...]()
    about: tuple[str, ...] = ()
    if labeled:
        table, columns, stated, about = _choose_labels(table, indices, shards, options, row_splits)
        labels = read_labels(table, columns, options)
    _check(table, labels, row_splits)
    numbers = row_splits.number()
    given = class_names
    if stated and class_names is None and labels.task != "regression":
        found = {name for row in labels.known for name in row}
        given = tuple(name for name in stated if name in found)
        if len(given) < len(stated):
            without = [name for name in stated if name not in found]
            about += (f"classes without images are left out: {list_words(without[:_MOST_LISTED])}",)
    names, encoded = labels.encode(numbers, given, table.parts[0].name)
    return Listing(
        root=root,
        class_names=names,
        paths=_name_images(shards, indices, root),
        labels=encoded,
        splits=numbers,
        ignored=dict(sum((Counter(index.ignored) for index in indices), Counter[str]())),
        task=labels.task,
        table=root / _name_together(shards),
        members=_join_members(shards, indices),
        decisions=(
            *about,
            *row_splits.decisions,
            *labels.decisions,
            *_describe_places(shards, root),
            *(() if stated or labels.task in ("regression", UNLABELED) else describe_order(names, class_names)),
            *_describe_copies(indices),
        ),
    )


def _open_all(shards: Sequence[ShardFile], image_column: str | None) -> list[ShardIndex]:
    """Returns the index of each shard; several are read at a time."""
    with ThreadPoolExecutor(min(_WORKERS, len(shards))) as threads:
        jobs = [threads.submit(open_index, each.path, image_column, _INDEXERS[each.kind]) for each in shards]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _join(shards: Sequence[ShardFile], indices: Sequence[ShardIndex]) -> Table:
    """Returns the fields of all images as a table; a row is numbered by its place in its shard."""
    names = dict.fromkeys(name for index in indices for name in index.columns)
    columns: dict[str, list[Any]] = {_FILE: []}
    columns |= {name: [] for name in names}
    origins, numbers = list[int](), list[int]()
    for place, index in enumerate(indices):
        count = len(index.names)
        columns[_FILE] += index.names
        for name in names:
            columns[name] += index.columns.get(name) or [""] * count
        origins += [place] * count
        numbers += range(count)
    parts = tuple(Part(str(shard.path), shard.path.parent, shard.split) for shard in shards)
    return Table(parts, columns, numbers, origins)


def _choose_labels(
    table: Table, indices: Sequence[ShardIndex], shards: Sequence[ShardFile], options: TableOptions, splits: RowSplits
) -> tuple[Table, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Returns the table with names for numbers where these are known, the columns of labels, the names in order, and a sentence."""
    folders = table.columns.get(FOLDER, [])
    used = (_FILE, splits.column, *([FOLDER] if FOLDER in table.columns else []))
    about: tuple[str, ...] = ()
    if options.label_columns:
        columns = choose_label_columns(table, options.label_columns, ())
    else:
        found = next((name for name in _LABELS if name in table.columns), None)
        try:
            columns = (found,) if found else choose_label_columns(table, (), used)
        except ColumnError as error:
            classes = _find_folder_classes(folders, splits)
            if classes is None:
                fields = [name for name in table.columns if name not in (_FILE, FOLDER)]
                raise ColumnError(
                    f"{table.parts[0].name}: it is not clear what labels the images: the fields are {list_words(fields)}, and the images are in no "
                    "folders for classes. State the field with label_column (--label-column); labels can also be .cls files."
                ) from error
            about = ("labels read from the folders in the shards",)
            return _with_column(table, FOLDER, classes), (FOLDER,), (), about
    if len(columns) == 1 and not any(columns[0] in index.classes for index in indices):
        (column,) = columns
        names, where = _find_names(table, column, shards)
        if names:
            table = _with_column(table, column, [_rename(cell, names) for cell in table.columns[column]])
            about = (f"class names of the numbers in {column} read from {where}, and ordered by number",)
            return table, columns, tuple(names[number] for number in sorted(names, key=int)), about
    return table, columns, _find_stated_names(columns, indices), about


def _with_column(table: Table, name: str, cells: list[Any]) -> Table:
    return Table(table.parts, {**table.columns, name: cells}, table.numbers, table.origins)


def _find_folder_classes(folders: list[str], splits: RowSplits) -> list[str] | None:
    """Returns the first folder of each image that not all have in common, and that is no split; None where there are too few."""
    parts = [folder.removeprefix("./").split("/") if folder else [] for folder in folders]
    for level in range(min(map(len, parts), default=0)):
        names = [each[level] for each in parts]
        distinct = set(names)
        are_splits = all(parse_split(name) for name in distinct)
        if len(distinct) > 1 and not (are_splits and names == splits.values):
            return names
    return None


def _find_names(table: Table, column: str, shards: Sequence[ShardFile]) -> tuple[dict[str, str], str]:
    """Returns the class name of each number in a column of labels, and where they were found."""
    cells = table.columns[column]
    if not all(isinstance(cell, str) and (cell.isdecimal() or not cell) for cell in cells):
        return {}, ""
    for other in _NAMES:
        if other in table.columns and other != column:
            pairs = {(cell, name) for cell, name in zip(cells, table.columns[other], strict=True) if cell}
            found = {number: name for number, name in pairs if isinstance(name, str) and name}
            if len(found) == len(pairs) == len(set(found.values())):
                return found, f"the field {other}"
    for folder in dict.fromkeys(each for shard in shards for each in (shard.path.parent, shard.path.parent.parent)):
        for stem in (column, *_NAME_FILES):
            for path in (folder / f"{stem}.labels.txt", folder / f"{stem}.txt", folder / f"{stem}.json"):
                if path.is_file():
                    return _read_names(path), path.name
    return {}, ""


def _read_names(path: Path) -> dict[str, str]:
    """Returns the class names in a file by number: one per line, or a JSON list or object."""
    try:
        text = path.read_text("utf-8-sig")
        found = json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.strip().splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a list of class names ({error}).") from error
    if isinstance(found, dict) and all(isinstance(number, int) for number in found.values()):
        found = {number: name for name, number in found.items()}  # {"cat": 0}
    if not isinstance(found, list | dict):
        raise DataError(f"{path}: expected a list of class names, or an object of numbers and names.")
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return {str(number): str(name) for number, name in pairs}


def _rename(cell: str, names: Mapping[str, str]) -> str:
    return names.get(str(int(cell)), cell) if cell else ""


def _find_stated_names(columns: tuple[str, ...], indices: Sequence[ShardIndex]) -> tuple[str, ...]:
    """Returns the names of the classes in the order that the shards state; raises `DataError` where it differs."""
    if len(columns) != 1:
        return ()
    stated = {tuple(index.classes[columns[0]]) for index in indices if columns[0] in index.classes}
    if len(stated) > 1:
        first, second = sorted(stated)[:2]
        raise DataError(
            f"The shards state different classes in {columns[0]}: {list_words(first[:_MOST_LISTED])}, and {list_words(second[:_MOST_LISTED])}. "
            "Pass shards of one data set."
        )
    return stated.pop() if stated else ()


def _check(table: Table, labels: RowLabels, splits: RowSplits) -> None:
    """Raises `DataError` that lists the first images whose label or split can't be used."""
    bad = dict(labels.faults)
    values = {value: splits.parse(value) for value in set(splits.values)}
    for index, value in enumerate(splits.values):
        if value and values[value] is None:
            bad.setdefault(
                index, f"the split {value!r} is none of {', '.join(SPLITS)}; state it with ReadOptions(splits=...)"
            )
    if bad:
        listed = "".join(
            f"\n  {table.parts[table.origins[index]].name}, {table.columns[_FILE][index]}: {bad[index]}"
            for index in sorted(bad)[:_MOST_LISTED]
        )
        more = f"\n  and {len(bad) - _MOST_LISTED:,} more" if len(bad) > _MOST_LISTED else ""
        raise DataError(f"{plural(len(bad), 'image')} of {len(table):,} can't be used:{listed}{more}")
    without = splits.values.count("")
    if 0 < without < len(splits.values):
        raise DataError(f"{plural(without, 'image')} have no split; state the split of every image or of none.")


def _name_images(shards: Sequence[ShardFile], indices: Sequence[ShardIndex], root: Path) -> list[str]:
    """Returns the name of each image, from the root on: its shard's and its own."""
    paths: list[str] = []
    for shard, index in zip(shards, indices, strict=True):
        folder = shard.path.relative_to(root).as_posix()
        if len(set(index.names)) < len(index.names):
            name = next(name for name, count in Counter(index.names).items() if count > 1)
            raise DataError(f"{shard.path}: there are two members {name}; make the file again, with a name for each.")
        paths += [f"{folder}/{name}" for name in index.names]
    return paths


def _join_members(shards: Sequence[ShardFile], indices: Sequence[ShardIndex]) -> Members:
    counts = [len(index.names) for index in indices]
    return Members(
        shards=tuple(index.file or str(shard.path) for shard, index in zip(shards, indices, strict=True)),
        shard_numbers=np.repeat(np.arange(len(shards), dtype="int32"), counts),
        offsets=np.concatenate([np.asarray(index.offsets, "int64") for index in indices]),
        lengths=np.concatenate([np.asarray(index.lengths, "int64") for index in indices]),
    )


def _name_together(shards: Sequence[ShardFile]) -> str:
    """Returns a name for all shards, by which their manifest is found again."""
    if len(shards) == 1:
        return shards[0].path.name
    return hashlib.sha256("\0".join(str(shard.path) for shard in shards).encode(errors="surrogateescape")).hexdigest()[
        :16
    ]


def _describe_places(shards: Sequence[ShardFile], root: Path) -> tuple[str, ...]:
    names = {shard.split: shard.path.relative_to(root).as_posix() for shard in reversed(shards) if shard.split}
    if not names:
        return ()
    counts = Counter(shard.split for shard in shards)
    return (
        "shards read as splits: "
        + ", ".join(f"{counts[split]:,} of {split} ({names[split]}{', ...' if counts[split] > 1 else ''})" for split in SPLITS if split in names),
    )  # fmt: skip


def _describe_copies(indices: Sequence[ShardIndex]) -> tuple[str, ...]:
    sizes = [sum(index.lengths) for index in indices if index.file]
    if not sizes:
        return ()
    return (
        f"images that {plural(len(sizes), 'Parquet file')} stores compressed were copied to the cache: {sum(sizes) / 2**30:.2f} GiB",
    )
