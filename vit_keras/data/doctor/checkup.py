"""The data doctor: looks at every image of a data set once and says what is the matter with it. Needs no Keras."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.doctor import findings as rules
from vit_keras.data.doctor.duplicates import same_content, same_to_the_eye
from vit_keras.data.doctor.findings import Finding
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.scan.inspection import Limits
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.manifest import MANIFEST, QUARANTINE, Manifest
from vit_keras.data.scan.scan import scan
from vit_keras.data.sources.folder import list_files
from vit_keras.errors import DataError, StorageError
from vit_keras.reporting.text import shown

LEVELS = ("error", "warning", "note")
_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Checkup:
    """What was found of a data set.

    Args:
        source: The folder or the table.
        listing: Its files by name.
        manifest: What was found of each file.
        copies: Groups of usable files with the same bytes, as indices.
        look_alikes: Groups of usable files that look the same.
        findings: What a person should know, the worst first.
    """

    source: Path
    listing: Listing
    manifest: Manifest
    copies: list[np.ndarray]
    look_alikes: list[np.ndarray]
    findings: tuple[Finding, ...]

    def enforce(self, reading: ReadOptions, *, strict: bool = False) -> None:
        """Raises `DataError` where the data set should not be trained on.

        Args:
            reading: How many files may be left out.
            strict: Whether files left out, conflicting labels and leaks are refused, however few.

        Raises:
            TooManyBadFilesError: More files can't be used than `reading` allows.
            DataError: `strict`, and there are errors among the findings.
        """
        self.manifest.check_limit(max_error_rate=reading.max_error_rate, on_error=reading.on_error)
        wrong = [finding.text for finding in self.findings if finding.level == "error"]
        if strict and wrong:
            raise DataError(f"{self.source}: {' '.join(wrong)} Mend them, or check without strict.")

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as JSON can hold it."""
        manifest, folder = self.manifest, self.manifest.folder
        return {
            "source": str(self.source),
            "usable": len(manifest),
            "fingerprint": manifest.fingerprint,
            "classes": {
                name: {split or "all": int(counts[label]) for split, counts in rules.counts_of(manifest).items()}
                for label, name in enumerate(manifest.class_names)
            },
            "class_weights": rules.class_weights(manifest),
            "formats": dict(Counter(manifest.columns.formats).most_common()),
            "modes": dict(Counter(manifest.columns.modes).most_common()),
            "sizes": self._sizes(),
            "findings": [vars(finding) for finding in self.findings],
            "quarantined": [vars(item) for item in manifest.quarantined],
            "skipped": dict(self.listing.skipped),
            "ignored": self.listing.ignored,
            "manifest": str(folder / MANIFEST) if folder else None,
            "quarantine": str(folder / QUARANTINE) if folder else None,
        }

    def lines(self) -> Iterator[str]:
        """Yields all of it as text for a terminal."""
        manifest, folder = self.manifest, self.manifest.folder
        yield f"{shown(str(self.source))}: {len(manifest):,} usable images of {len(manifest.class_names):,} classes"
        counts = rules.counts_of(manifest)
        if "" not in counts:
            yield f"splits       {', '.join(f'{split} {counted.sum():,}' for split, counted in counts.items())}"
        counted = rules.training_counts(manifest)
        least, most = (int(place) for place in (counted.argmin(), counted.argmax()))
        names = [shown(manifest.class_names[place]) for place in (least, most)]
        yield f"a class      {counted[least]:,} ({names[0]}) to {counted[most]:,} ({names[1]}) images{' to train on' if len(counts) > 1 else ''}"
        if sizes := self._sizes():
            low, middle, high = (
                f"{sizes['width'][word]:,}x{sizes['height'][word]:,}" for word in ("min", "median", "max")
            )
            yield f"sizes        {low} to {high} px, {middle} in the middle"
            yield f"formats      {_counted(manifest.columns.formats)}; {_counted(manifest.columns.modes)}"
        for finding in self.findings:
            yield f"{finding.level:12} {finding.text}"
            for group, reason in zip_longest(finding.files[:_EXAMPLES], finding.reasons[:_EXAMPLES]):
                yield f"{'':12}   {' = '.join(map(shown, group))}{f': {shown(reason)}' if reason else ''}"
            if len(finding.files) > _EXAMPLES:
                yield f"{'':12}   and {len(finding.files) - _EXAMPLES:,} more"
        if not self.findings:
            yield "nothing is the matter with it"
        if folder:
            yield f"manifest     {folder / MANIFEST}"
            yield f"left out     {folder / QUARANTINE}"

    def _sizes(self) -> dict[str, dict[str, int]]:
        if not len(self.manifest):
            return {}
        sides = {"width": self.manifest.columns.widths, "height": self.manifest.columns.heights}
        return {
            name: {"min": int(side.min()), "median": int(np.median(side)), "max": int(side.max())}
            for name, side in sides.items()
        }


def check(
    source: Path | str,
    *,
    reading: ReadOptions | None = None,
    report: Path | str | None = None,
    strict: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checkup:
    """Returns what is the matter with a data set; nothing in it is changed.

    Args:
        source: A folder of class folders, or a table of files and labels.
        reading: What an image must be, and how many files may be left out.
        report: A page to write, HTML; it must not exist. It is written before anything is refused.
        strict: Whether files left out, conflicting labels and leaks are refused, however few.
        on_progress: Called with the files checked and all there are.

    Raises:
        DataError: It makes no data set, or is refused.
        StorageError: It can't be read, or the report exists.
    """
    reading = reading or ReadOptions()
    checkup = examine(Path(source), reading, report=report, on_progress=on_progress)
    checkup.enforce(reading, strict=strict)
    return checkup


def examine(
    source: Path,
    reading: ReadOptions,
    *,
    report: Path | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checkup:
    """Does what `check` does, and refuses no data set for what is in it."""
    if report is not None and Path(report).exists():
        raise StorageError(f"{report} exists, and nothing is overwritten: choose another name, or remove it first.")
    listing = list_files(source, reading)
    limits = Limits(min_side=reading.min_side, max_aspect=reading.max_aspect)
    manifest = scan(listing, limits=limits, on_progress=on_progress)
    columns = manifest.columns
    copies = same_content(columns.sha256)
    look_alikes = same_to_the_eye(columns.phash, columns.sha256, columns.contrast >= rules.BLANK)
    found = [
        *rules.left_out(manifest),
        *rules.copies(manifest, copies),
        *rules.look_alikes(manifest, look_alikes),
        *rules.balance(manifest),
        *rules.looks(manifest),
        *rules.nearly_black(manifest),
        *rules.notes(manifest),
        *rules.decisions(listing),
        *rules.passed_over(listing),
        *(rules.nesting(listing) if source.is_dir() else ()),
    ]
    found.sort(key=lambda finding: LEVELS.index(finding.level))
    checkup = Checkup(source, listing, manifest, copies, look_alikes, tuple(found))
    if report is not None:
        from vit_keras.data.doctor.report import (
            write_report,  # with the drawing of figures, which takes its time to import
        )

        write_report(checkup, Path(report))
    return checkup


def _counted(words: list[str]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in Counter(words).most_common())
