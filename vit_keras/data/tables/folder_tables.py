"""Finds the tables in a folder that say which of its images have which labels."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from vit_keras.data.scan.walk import is_ignored
from vit_keras.data.split_names import SPLITS, match_splits, parse_affixed_split
from vit_keras.data.tables.read_table import SUFFIXES

_METADATA = "metadata"  # of Hugging Face's image folders


def find_folder_tables(folder: Path, splits: Mapping[str, str] | None = None) -> Path | dict[str, Path] | None:
    """Returns the table of a folder, or one table per split; None if there is none.

    Tables are, in this order: `metadata.csv`, `.jsonl` or `.parquet` in the folder, or in folders named as splits; tables named as
    splits, such as `train.csv` and `test.csv`; the only table in a folder that has no folders for classes. `splits` states the split
    of each folder or table.
    """
    entries = [path for path in _list(folder) if not is_ignored(path.name)]
    tables = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    folders = [path for path in entries if path.is_dir()]
    if metadata := _find_metadata(tables):
        return metadata
    by_folder = {each.name: table for each in folders if (table := _find_metadata(_list(each)))}
    by_name = {each.stem: each for each in reversed(tables)}  # train.csv before train.txt
    for candidates in (by_folder, by_name):
        found = match_splits(
            candidates, folder, splits and {name: splits[name] for name in splits if name in candidates}
        )
        if "train" not in found and splits is None:
            found = _find_affixed(candidates)
        if "train" in found:
            return {split: candidates[found[split]] for split in SPLITS if split in found}
    data = [path for path in tables if path.suffix.lower() != ".txt"]
    return data[0] if len(data) == 1 and len(folders) < 2 else None


def _find_metadata(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.stem.lower() == _METADATA and path.suffix.lower() in SUFFIXES), None)


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # reported when the folder is listed
        return []


def _find_affixed(names: Iterable[str]) -> dict[str, str]:
    """Returns the name of each split among names such as train_labels and test_labels; none if that is not clear."""
    found = [(affixed[0], name) for name in names if (affixed := parse_affixed_split(name))]
    return dict(found) if len(dict(found)) == len(found) else {}
