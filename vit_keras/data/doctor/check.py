"""`check`: inspects every image of a data set once and reports its problems. Imports neither Keras nor TensorFlow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vit_keras.data.doctor import findings as rules
from vit_keras.data.doctor.checkup import Checkup
from vit_keras.data.doctor.duplicates import find_duplicates, find_near_duplicates
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.shards.shard_files import name_source
from vit_keras.data.sources.folder import scan_source
from vit_keras.data.tables.options import TableOptions
from vit_keras.errors import StorageError

_LEVELS = ("error", "warning", "note")


def check(
    source: Any,
    *,
    task: str = "auto",
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    reading: ReadOptions | None = None,
    report: Path | str | None = None,
    overwrite: bool = False,
    strict: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checkup:
    """Checks a data set of image files: unusable files, duplicates, leaks, conflicting labels, imbalance, odd images.

    Nothing in the data set is changed.

    Args:
        source: Image files as `load` takes them: a folder, a table, a data frame, or one table per split.
        task: As for `load`.
        image_dir: As for `load`.
        image_column: As for `load`.
        label_column: As for `load`.
        label_separator: As for `load`.
        contained: As for `load`.
        reading: Requirements of an image, and how many files may be left out.
        report: Path of an HTML report to write. It is written before an error is raised.
        overwrite: Whether to replace a report that exists.
        strict: Whether any unusable file, conflicting label or leak is an error.
        on_progress: Called with the number of files checked and the number of all files.

    Raises:
        TooManyBadFilesError: More files are unusable than `reading` allows.
        DataError: The source is not a data set; or `strict`, and there are such problems.
        StorageError: The source can't be read, or the report exists.
    """
    reading = reading or ReadOptions()
    tables = TableOptions(
        image_dir=image_dir,
        image_column=image_column,
        label_column=label_column,
        label_separator=label_separator,
        contained=contained,
        task=task,
    )
    checkup = examine(source, reading, tables=tables, report=report, overwrite=overwrite, on_progress=on_progress)
    checkup.enforce(reading, strict=strict)
    return checkup


def examine(
    source: Any,
    reading: ReadOptions,
    *,
    tables: TableOptions | None = None,
    report: Path | str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checkup:
    """Does what `check` does, without an error for the problems it finds."""
    if report is not None:
        _check_report(Path(report), overwrite=overwrite)
    listing, manifest = scan_source(source, reading, tables=tables, on_progress=on_progress)
    columns = manifest.columns
    copies = find_duplicates(columns.sha256)
    look_alikes = find_near_duplicates(columns.phash, columns.sha256, columns.contrast >= rules.BLANK)
    found = [
        *rules.find_unusable(manifest),
        *rules.find_groups(manifest, copies, rules.COPIES),
        *rules.find_groups(manifest, look_alikes, rules.LOOK_ALIKES),
        *rules.find_imbalance(manifest),
        *rules.find_odd_labels(manifest),
        *rules.find_odd_looks(manifest),
        *rules.find_remarks(manifest, listing, nested=bool(listing.folders)),
    ]
    found.sort(key=lambda finding: _LEVELS.index(finding.level))
    checkup = Checkup(name_source(source), listing, manifest, tuple(found))
    if report is not None:
        from vit_keras.data.doctor.report import write_report  # imports matplotlib, which is slow

        _check_report(Path(report), overwrite=overwrite)  # again, since the check may have taken long
        write_report(checkup, Path(report))
    return checkup


def _check_report(report: Path, *, overwrite: bool) -> None:
    if report.exists() and not overwrite:
        raise StorageError(f"{report} exists, and nothing is overwritten: choose another name, or pass overwrite=True.")
