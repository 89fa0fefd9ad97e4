"""`Checkup`: the result of a data check, as text for a terminal and as JSON."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from vit_keras.data.doctor.findings import Finding, class_weights, count_classes, count_training_images
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.manifest import MANIFEST, QUARANTINE, Manifest
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tasks import describe_count
from vit_keras.errors import DataError, VitKerasError
from vit_keras.reporting import notebook
from vit_keras.reporting.text import escape_unprintable, plural

_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Checkup:
    """The result of a data check: the files by name, those usable and left out, and the findings, the worst first."""

    source: str
    listing: Listing = field(repr=False)
    manifest: Manifest = field(repr=False)
    findings: tuple[Finding, ...] = field(repr=False)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return notebook.plain(str(self))

    def enforce(self, reading: ReadOptions, *, strict: bool = False) -> None:
        """Raises `TooManyBadFilesError` if more files are unusable than `reading` allows; if `strict`, `DataError` for any error."""
        self.manifest.check_limit(max_error_rate=reading.max_error_rate, on_error=reading.on_error)
        errors = [finding.text for finding in self.findings if finding.level == "error"]
        if strict and errors:
            raise DataError(f"{self.source}: {' '.join(errors)} Fix them, or check without strict.")

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON can hold it."""
        manifest, folder = self.manifest, self.manifest.folder
        return {
            "source": self.source,
            "usable": len(manifest),
            "task": manifest.task,
            "fingerprint": manifest.fingerprint,
            "classes": {
                name: {split or "all": int(counts[label]) for split, counts in count_classes(manifest).items()}
                for label, name in enumerate(manifest.class_names)
            },
            **({"targets": self._ranges()} if manifest.task == "regression" else {}),
            "class_weights": class_weights(manifest) if manifest.task == "single_label" else {},
            "formats": dict(Counter(manifest.columns.formats).most_common()),
            "modes": dict(Counter(manifest.columns.modes).most_common()),
            "sizes": self._sizes(),
            "findings": [vars(finding) for finding in self.findings],
            "quarantined": [vars(item) for item in manifest.quarantined],
            "skipped": dict(manifest.skipped),
            "ignored": manifest.ignored,
            "manifest": str(folder / MANIFEST) if folder else None,
            "quarantine": str(folder / QUARANTINE) if folder else None,
        }

    def verdict(self, reading: ReadOptions, *, strict: bool = False) -> str:
        """Returns in a sentence whether the data set can be trained on, and otherwise why not."""
        try:
            self.enforce(reading, strict=strict)
        except VitKerasError:
            return "not ready to train: fix what is listed as an error above, then check again"
        if not len(self.manifest):
            return "not ready to train: there is no usable image"
        images = (
            f"{plural(len(self.manifest), 'image')} in {plural(len(self.manifest.class_names), 'class', 'classes')}"
        )
        kinds = Counter(finding.level for finding in self.findings)
        looks = [plural(kinds[level], level) for level in ("error", "warning") if kinds[level]]
        return f"ready to train: {images}" + (f"; but look at the {' and the '.join(looks)} above" if looks else "")

    def lines(self) -> Iterator[str]:
        """Yields the result as lines for a terminal."""
        manifest, folder = self.manifest, self.manifest.folder
        count, names = plural(len(manifest), "usable image"), len(manifest.class_names)
        what = f"in {plural(names, 'class', 'classes')}"
        if manifest.task != "single_label":
            what = f"with {describe_count(manifest.task, names)}"
        yield f"{escape_unprintable(self.source)}: {count} {what}"
        counts = count_classes(manifest)
        if "" not in counts:
            yield f"splits       {', '.join(f'{split} {(manifest.splits == SPLITS.index(split)).sum():,}' for split in counts)}"
        if manifest.task == "regression":
            for name, found in self._ranges().items():
                low, mean, high = (f"{found[word]:.6g}" for word in ("min", "mean", "max"))
                yield f"numbers      {escape_unprintable(name)}: {low} to {high}, mean {mean}"
        else:
            counted = count_training_images(manifest)
            least, most = (
                f"{counted[label]:,} ({escape_unprintable(manifest.class_names[label])})"
                for label in (int(counted.argmin()), int(counted.argmax()))
            )
            yield f"per class    {least} to {most} {'training ' if len(counts) > 1 else ''}images"
        if sizes := self._sizes():
            low, median, high = (
                f"{sizes['width'][word]:,}x{sizes['height'][word]:,}" for word in ("min", "median", "max")
            )
            yield f"sizes        {low} to {high} px, median {median}"
            formats, modes = (_count(words) for words in (manifest.columns.formats, manifest.columns.modes))
            yield f"formats      {formats}; {modes}"
        for finding in self.findings:
            yield f"{finding.level:12} {finding.text}"
            for group, reason in zip_longest(finding.files[:_EXAMPLES], finding.reasons[:_EXAMPLES]):
                yield f"{'':12}   {' = '.join(map(escape_unprintable, group))}{f': {escape_unprintable(reason)}' if reason else ''}"
            if len(finding.files) > _EXAMPLES:
                yield f"{'':12}   and {len(finding.files) - _EXAMPLES:,} more"
        if not self.findings:
            yield "no problems found"
        if folder:
            yield f"manifest     {folder / MANIFEST}"
            if manifest.quarantined:
                yield f"left out     {folder / QUARANTINE}"

    def _ranges(self) -> dict[str, dict[str, float]]:
        """Returns the range of each number of a regression."""
        labels = self.manifest.labels.astype("float64")
        if not len(labels):
            return {}
        return {
            name: {word: float(getattr(values, word)()) for word in ("min", "mean", "max", "std")}
            for name, values in zip(self.manifest.class_names, labels.T, strict=True)
        }

    def _sizes(self) -> dict[str, dict[str, int]]:
        if not len(self.manifest):
            return {}
        sides = {"width": self.manifest.columns.widths, "height": self.manifest.columns.heights}
        return {
            name: {"min": int(side.min()), "median": int(np.median(side)), "max": int(side.max())}
            for name, side in sides.items()
        }


def _count(words: list[str]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in Counter(words).most_common())
