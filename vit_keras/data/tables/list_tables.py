"""Lists the image files of tables with their labels and splits."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from vit_keras.data.class_names import describe_order
from vit_keras.data.scan.listing import Listing
from vit_keras.data.split_names import SPLITS, describe_splits, match_splits
from vit_keras.data.tables.columns import ColumnError, choose_image_column, choose_label_columns
from vit_keras.data.tables.data_frame import is_data_frame
from vit_keras.data.tables.files import FileFinder
from vit_keras.data.tables.labels import RowLabels, no_labels, read_labels
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.read_table import image_folder, is_table, read_table
from vit_keras.data.tables.row_splits import RowSplits, find_row_splits
from vit_keras.data.tables.table import Table, join_tables
from vit_keras.data.tasks import UNLABELED
from vit_keras.errors import DataError
from vit_keras.reporting.text import plural
from vit_keras.validation import list_words

_MAX_LISTED = 10


def are_tables(source: object) -> bool:
    """Whether a source is a table by its type or suffix, or a mapping of splits to tables."""
    if isinstance(source, Mapping):
        return bool(source) and all(is_table(each) for each in source.values())
    return is_table(source)


def name_tables(source: Any) -> str:
    """Returns the name of a table, or of one table per split."""
    if isinstance(source, Mapping):
        return ", ".join(name_tables(each) for each in source.values())
    return "data frame" if is_data_frame(source) else str(source)


def list_tables(
    source: Any,
    *,
    options: TableOptions | None = None,
    class_names: tuple[str, ...] | None = None,
    splits: Mapping[str, str] | None = None,
    drop_unlabeled: bool = False,
    labeled: bool = True,
) -> Listing:
    """Returns the files of a table of images and labels, or of one table per split.

    Paths are absolute, or relative to `options.image_dir` or else to the folder of their table (of a data frame, the working
    directory). They may lead anywhere unless `options.contained`. The splits are those of the tables; else of a column named `split`,
    `set`, `subset`, `fold` or similar; else of a column whose values all name splits; else of the first level of folders in the paths
    that all name splits.

    Args:
        source: A path, a data frame, or a mapping of splits to these.
        options: Which columns are read, and how.
        class_names: Class names in order; by default sorted.
        splits: The split of each value in a column, or of each key of a mapping; {} for none.
        drop_unlabeled: Whether tables of validation or test images without the columns of labels are left out.
        labeled: False to read no labels: the listing has the task "unlabeled".

    Raises:
        ColumnError: It is not clear which column holds the images or the labels, or no file is found.
        DataError: A row or a table can't be used; the message lists the first rows.
        ClassLayoutError: The classes of the splits differ, or there are too few.
        EmptyDatasetError: There are no rows.
    """
    options = options or TableOptions()
    tables, about_tables = _read_tables(source, options, splits)
    finders = _make_finders(tables, options)
    image_column, about_images = choose_image_column(tables[0], options.image_column, finders[0])
    if is_data_frame(source) and options.image_dir is None:
        finders = [_find_from_common_folder(tables[0].columns[image_column], finders[0])]
    row_splits = find_row_splits(tables[0], splits, image_column=image_column, label_columns=options.label_columns)
    label_columns: tuple[str, ...] = ()
    if labeled:
        label_columns = choose_label_columns(tables[0], options.label_columns, (image_column, row_splits.column))
    kept, about_dropped = _check_columns(tables, (image_column, *label_columns), drop=drop_unlabeled)
    tables, finders = [tables[place] for place in kept], [finders[place] for place in kept]
    table = join_tables(tables)
    root = Path(os.path.commonpath([finder.folder for finder in finders]))
    rows = _Rows(table, image_column, finders, root)
    labels = read_labels(table, label_columns, options) if labeled else no_labels(len(table))
    if len(tables) > 1:
        row_splits = find_row_splits(table, splits, image_column=image_column)
    rows.check(labels, row_splits, contained=options.contained)
    numbers = row_splits.number()
    names, encoded = labels.encode(numbers, class_names, table.name)
    return Listing(
        root=root,
        class_names=names,
        paths=rows.paths,
        labels=encoded,
        splits=numbers,
        task=labels.task,
        table=root / "data frame" if is_data_frame(source) else Path(tables[0].name),
        decisions=(
            *about_tables,
            *about_images,
            *about_dropped,
            *row_splits.decisions,
            *labels.decisions,
            *(() if labels.task in ("regression", UNLABELED) else describe_order(names, class_names)),
            *rows.describe_places(),
        ),
    )


def _read_tables(
    source: Any, options: TableOptions, splits: Mapping[str, str] | None
) -> tuple[list[Table], tuple[str, ...]]:
    """Returns the tables, that of the training images first, and how the keys of a mapping were understood."""
    if not isinstance(source, Mapping):
        return [read_table(source, options)], ()
    found = match_splits([name for name in source if isinstance(name, str)], "These tables", splits or None)
    if "train" not in found or len(found) < len(source):
        raise DataError(
            f"Tables of splits have the keys train, validation and test, of which train is required; got {list_words(source)}."
        )
    tables = []
    for split in SPLITS:
        if split in found:
            given = source[found[split]]
            table = read_table(given, options)
            (part,) = table.parts
            name = part.name
            if is_data_frame(given):  # the same name only for the same data frame
                name += f" {next(key for key, each in source.items() if each is given)!r}"
            tables.append(replace(table, parts=(replace(part, name=name, split=split),)))
    return tables, describe_splits({name: split for split, name in found.items()}, "tables")


def _make_finders(tables: list[Table], options: TableOptions) -> list[FileFinder]:
    """Returns what finds the files of each table."""
    folders = [image_folder(table.parts[0].folder, options).resolve() for table in tables]
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder (image_dir).")
    by_folder = {folder: FileFinder(folder) for folder in folders}
    return [by_folder[folder] for folder in folders]


def _find_from_common_folder(cells: list[Any], finder: FileFinder) -> FileFinder:
    """Returns what finds files from their common folder on, if all paths are absolute."""
    if not all(isinstance(cell, str) and os.path.isabs(cell) for cell in cells):
        return finder
    folder = Path(os.path.commonpath([os.path.dirname(cell) for cell in cells]))
    return FileFinder(folder) if folder.is_dir() else finder


def _check_columns(tables: list[Table], needed: tuple[str, ...], *, drop: bool) -> tuple[list[int], tuple[str, ...]]:
    """Returns the indices of the tables that have all columns; others are left out with a sentence, or an error."""
    complete, decisions = [], []
    for place, table in enumerate(tables):
        missing = [name for name in needed if name not in table.columns]
        if not missing:
            complete.append(place)
        elif drop:
            decisions.append(f"{Path(table.name).name} is not read: it has no column {', '.join(missing)}")
        else:
            raise DataError(
                f"{table.name}: there is no column {', '.join(missing)}, which {tables[0].name} has. The columns are "
                f"{table.describe_columns()}."
            )
    return complete, tuple(decisions)


def _is_below(cell: Any, path: str) -> bool:
    """Whether a file that was found is in a subfolder that its cell does not name."""
    return "/" in path and "/" not in cell and "\\" not in cell


def _are_normal(paths: list[str]) -> bool:
    """Whether each path has one spelling, so that different paths are different files."""
    lines = "\n".join(["", *paths])
    return not any(part in lines for part in ("\n/", "\n./", "\n../", "/./", "/../", "//"))


class _Rows:
    """The rows of a table and the path of each file, from the root on."""

    def __init__(self, table: Table, column: str, finders: list[FileFinder], root: Path) -> None:
        self.table, self.finders, self.root = table, finders, root
        cells = self.cells = table.columns[column]
        prefixes = [os.path.relpath(finder.folder, root) for finder in finders]
        self.paths: list[str] = []  # "" where there is no file
        self.outside: set[int] = set()
        self.below = 0  # files that were named without their folder
        if prefixes == ["."]:
            found, self.outside = finders[0].find_all(cells, table.count_folders(column))
            if found is cells:  # which are the paths of files
                self.paths = cells
                return
            self.paths = [path or "" for path in found]
            renamed = [pair for pair in zip(cells, self.paths, strict=True) if pair[0] is not pair[1]]
            self.below = sum(_is_below(cell, path) for cell, path in renamed)
        else:
            checker = FileFinder(root)
            for index, (cell, origin) in enumerate(zip(cells, table.origins, strict=True)):
                path = finders[origin].find(cell) or ""
                self.below += _is_below(cell, path)
                prefix = prefixes[origin]
                self.paths.append(path if prefix == "." or not path else str(PurePosixPath(prefix, path)))
                if path and checker.is_outside(self.paths[-1]):
                    self.outside.add(index)

    def describe_places(self) -> tuple[str, ...]:
        """Returns sentences on the numbers of files in subfolders that the table does not name, and outside the root."""
        of = f"of {plural(len(self.paths), 'file')} are"
        places = (
            (self.below, "in subfolders that the table does not name"),
            (len(self.outside), f"outside {self.root}"),
        )
        return tuple(f"{count:,} {of} {where}" for count, where in places if count)

    def check(self, labels: RowLabels, splits: RowSplits, *, contained: bool) -> None:
        """Raises `DataError` that lists the first rows that can't be used, `ColumnError` where there is no file at all."""
        first: dict[str, int] = {}
        bad = []
        parsed = {value: splits.parse(value) for value in set(splits.values)}
        has_bad_split = any(value and split is None for value, split in parsed.items())
        distinct = set(self.paths)
        are_normal = self.paths is self.cells or _are_normal(self.paths)  # what a listed folder holds has one spelling
        if len(distinct) == len(self.paths) and are_normal and not has_bad_split:
            missing = [self.paths.index("")] if "" in distinct else []
            looked_at = sorted({*labels.faults, *self.outside, *missing})
        else:
            looked_at = list(range(len(self.paths)))
        for index in looked_at:
            path = self.paths[index]
            reasons = [] if path else [self.finders[self.table.origins[index]].explain(self.cells[index])]
            if contained and index in self.outside:
                reasons.append(f"outside {self.root}, which contained=True (--contained) refuses")
            if index in labels.faults:
                reasons.append(labels.faults[index])
            value = splits.values[index]
            if value and parsed[value] is None:
                reasons.append(
                    f"the split {value!r} is none of {', '.join(SPLITS)}; state it with ReadOptions(splits=...), or leave the cells of a "
                    "column split empty for no splits"
                )
            if path:
                same = first.setdefault(os.path.normpath(os.path.join(self.root, path)), index)
                if same != index and not self._is_repeated_table(same, index):
                    reasons.append(f"the same file as in {self.table.describe_row(same)}")
            if reasons:
                bad.append((index, "; ".join(reasons)))
        if bad:
            listed = "".join(
                f"\n  {self.table.describe_row(index)}, {self.cells[index]!r:.200}: {text}"
                for index, text in bad[:_MAX_LISTED]
            )
            more = f"\n  and {len(bad) - _MAX_LISTED:,} more" if len(bad) > _MAX_LISTED else ""
            text = f"{self.table.name}: {plural(len(bad), 'row')} can't be used:{listed}{more}"
            if not any(self.paths):
                raise ColumnError(
                    f"{text}\nNo file was found in {self.finders[0].folder}, where relative paths start; state the folder of the images with "
                    "image_dir (--image-dir), or the column with image_column (--image-column)."
                )
            raise DataError(text)
        without = splits.values.count("")
        if 0 < without < len(splits.values):
            raise DataError(
                f"{self.table.name}: {plural(without, 'row')} have no split; state the split of every row or of none."
            )

    def _is_repeated_table(self, first: int, second: int) -> bool:
        """Whether two rows are of one table that is given for two splits."""
        places = self.table.origins[first], self.table.origins[second]
        return places[0] != places[1] and self.table.parts[places[0]].name == self.table.parts[places[1]].name
