"""The findings of the data doctor: problems and remarks, from the listing and the manifest of a data set."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.manifest import Manifest
from vit_keras.data.split_names import SPLITS
from vit_keras.reporting.text import escape_unprintable, plural

# From CleanVision 0.3.7: an image is dark if the 99th percentile of its brightness is under 0.32, bright if the 5th is over 0.95, flat
# if its entropy is under 3 bits, and odd in size if the square root of its area is further than three interquartile ranges from the
# quartiles. A property of more than half of the images is not reported.
DARK, BRIGHT, FLAT, ODD = 0.32 * 255, 0.95 * 255, 3.0, 3.0
PREVALENT = 0.5
BLANK = 5.0  # standard deviation of the luma, 0..255, below which the perceptual hash is random
TINY = 32  # px of the shorter side
HUGE = 12_000_000  # pixels, a phone's photo
FEW = 10  # images per class
OUTLYING = 10.0  # interquartile ranges from the median, from which on a number is reported
IMBALANCED = 100  # ratio of the largest to the smallest class
_MAX_CLASSES = 10
COPIES = (  # kind, level and text for groups with several labels, with several splits, and with one of both
    ("conflict", "error", "images with more than one label: {}. At most one label is right; remove the other files."),
    ("leak", "error", "images in more than one split: {}. Memorized images inflate the score; keep each in one split."),
    ("copy", "note", "images repeated in their class: {}. They count more than others."),
)
LOOK_ALIKES = (
    ("near conflict", "warning", "groups of near-duplicates with more than one label: {}. Look at them."),
    ("near leak", "warning", "groups of near-duplicates in more than one split: {}. Look at them."),
    ("near copy", "note", "groups of near-duplicates in one class: {}."),
)


@dataclass(frozen=True)
class Finding:
    """A problem of a data set, or a remark about it."""

    kind: str  # identifier for programs
    level: str  # "error" (rejected by `strict`), "warning" or "note"
    text: str  # what was found, and how to fix it
    files: tuple[tuple[str, ...], ...] = ()  # groups; a single file is a group of one
    reasons: tuple[str, ...] = ()  # of each group, if they differ


def count_classes(manifest: Manifest) -> dict[str, np.ndarray]:
    """Returns the number of usable images per class, of a regression per target, by split; the split is "" if there are no splits."""
    numbers = np.unique(manifest.splits) if len(manifest) else np.array([-1])
    return {
        SPLITS[number] if number >= 0 else "": _count(manifest.labels[manifest.splits == number], manifest)
        for number in numbers
    }


def _count(labels: np.ndarray, manifest: Manifest) -> np.ndarray:
    if manifest.task == "single_label":
        return np.bincount(labels, minlength=len(manifest.class_names))
    if manifest.task == "multi_label":
        images: np.ndarray = labels.sum(axis=0, dtype="int64")
        return images
    return np.full(len(manifest.class_names), len(labels))


def count_training_images(manifest: Manifest) -> np.ndarray:
    """Returns the number of usable training images per class."""
    counts = count_classes(manifest)
    return counts.get("train", counts.get("", np.zeros(len(manifest.class_names), "int64")))


def class_weights(manifest: Manifest) -> dict[str, float]:
    """Returns loss weights that balance the classes, 1 on average over the training images."""
    counts = count_training_images(manifest)
    weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
    return dict(zip(manifest.class_names, weights.round(4).tolist(), strict=True))


def find_unusable(manifest: Manifest) -> Iterator[Finding]:
    """Yields a finding on files that can't be used."""
    bad = manifest.quarantined
    if bad:
        total = len(bad) + len(manifest)
        counts = "; ".join(f"{count:,} {reason}" for reason, count in manifest.reasons.most_common())
        text = f"unusable files left out: {len(bad):,} of {total:,} ({len(bad) / total:.2%}): {counts}."
        yield Finding(
            "quarantined", "error", text, tuple((item.path,) for item in bad), tuple(item.reason for item in bad)
        )


def find_groups(
    manifest: Manifest, groups: list[np.ndarray], kinds: tuple[tuple[str, str, str], ...]
) -> Iterator[Finding]:
    """Yields findings on groups of images that repeat each other; `kinds` is `COPIES` or `LOOK_ALIKES`."""
    found: tuple[list[np.ndarray], ...] = ([], [], [])
    for group in groups:
        labels, splits = (len(np.unique(values[group], axis=0)) for values in (manifest.labels, manifest.splits))
        for chosen, applies in zip(found, (labels > 1, splits > 1, labels == splits == 1), strict=True):
            if applies:
                chosen.append(group)
    for (kind, level, text), chosen in zip(kinds, found, strict=True):
        if chosen:
            files = tuple(tuple(manifest.paths[place] for place in group) for group in chosen)
            yield Finding(kind, level, text.format(f"{len(chosen):,}"), files)


def find_imbalance(manifest: Manifest) -> Iterator[Finding]:
    """Yields findings on the sizes of classes."""
    if manifest.task == "regression":
        return
    counts, names = count_training_images(manifest), [repr(escape_unprintable(name)) for name in manifest.class_names]
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    if counts[largest] > IMBALANCED * counts[smallest] > 0:
        weights = list(class_weights(manifest).values())
        yield Finding(
            "imbalance",
            "warning",
            f"{names[largest]} has {plural(int(counts[largest]), 'image')}, {names[smallest]} {counts[smallest]:,}: the small class will "
            f"hardly be learned. Class weights of {weights[largest]:.3g} and {weights[smallest]:.3g} balance them; the JSON output "
            "lists the weights of all classes.",
        )
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW]
    if few:
        yield Finding("few", "warning", f"classes with fewer than {FEW} training images: {_join(few)}.")
    for split, counted in count_classes(manifest).items():
        absent = [name for name, count in zip(names, counted, strict=True) if count == 0]
        if absent and split in SPLITS[1:]:
            text = f"the {split} split has no image of {_join(absent)}; its scores do not cover them."
            yield Finding("absent", "warning", text)


def find_odd_labels(manifest: Manifest) -> Iterator[Finding]:
    """Yields findings on images without any class, and on numbers far from all others, which may be errors or stand for no value."""
    if manifest.task == "multi_label":
        places = np.flatnonzero(~manifest.labels.any(axis=1))
        if places.size:
            yield Finding("no class", "note", f"images without any class: {len(places):,}.", _paths(manifest, places))
        return
    for column, name in enumerate(manifest.class_names if manifest.task == "regression" and len(manifest) else ()):
        values = manifest.labels[:, column].astype("float64")
        first, middle, third = np.percentile(values, (25, 50, 75))
        distance = np.abs(values - middle)
        places = np.flatnonzero(distance > OUTLYING * (third - first))
        if third > first and places.size:
            places = places[np.argsort(-distance[places], kind="stable")]
            examples = ", ".join(f"{values[place]:.6g}" for place in places[:3])
            text = (
                f"numbers of {escape_unprintable(name)} far from all others, which are {first:.4g} to {third:.4g} for half of the images: "
                f"{len(places):,}, such as {examples}. If they stand for no value, leave these rows out."
            )
            yield Finding("odd number", "warning", text, _paths(manifest, places))


def find_odd_looks(manifest: Manifest) -> Iterator[Finding]:
    """Yields findings on images that look unlike the others."""
    if not len(manifest):
        return
    columns = manifest.columns
    area = columns.widths.astype("int64") * columns.heights
    shorter, side = np.minimum(columns.widths, columns.heights), np.sqrt(area)
    first, third = np.percentile(side, (25, 75))
    distance = np.abs(side - (first + third) / 2)
    odd = distance > np.maximum((ODD + 0.5) * (third - first), third / 2)
    rules = [  # kind, text, mask of images, and a value that is lowest for the worst
        ("dark", "dark images", columns.highlight < DARK, columns.highlight),
        ("bright", "nearly white images", columns.shadow > BRIGHT, -columns.shadow),
        ("flat", "images with little content", columns.entropy < FLAT, columns.entropy),
        ("tiny", f"images with a side under {TINY} px", shorter < TINY, shorter),
        ("huge", f"images of over {HUGE / 1e6:.0f} million pixels; smaller copies load faster", area > HUGE, -area),
        ("odd size", "images far smaller or larger than the others", odd, -distance),
    ]
    for kind, text, mask, worst_first in rules:
        places = np.flatnonzero(mask)
        if 0 < len(places) <= PREVALENT * len(manifest):
            places = places[np.argsort(worst_first[places], kind="stable")]
            yield Finding(kind, "note", f"{text}: {len(places):,}.", _paths(manifest, places))


def find_remarks(manifest: Manifest, listing: Listing, *, nested: bool) -> Iterator[Finding]:
    """Yields findings on conversions, on how the source was understood, on what was skipped, and on images in subfolders."""
    for text in manifest.describe_nearly_black():
        yield Finding("nearly black", "warning", text, _paths(manifest, manifest.find_nearly_black()))
    for note, count in manifest.notes.most_common():
        places = [place for place, notes in sorted(manifest.columns.notes.items()) if note in notes]
        yield Finding("note", "note", f"{note}: {count:,}.", _paths(manifest, places))
    for decision in listing.decisions:
        yield Finding("read", "note", f"{escape_unprintable(decision)}.")
    if listing.skipped:
        files, reasons = tuple((path,) for path, _ in listing.skipped), tuple(reason for _, reason in listing.skipped)
        yield Finding("skipped", "warning", f"files and folders skipped: {len(files):,}.", files, reasons)
    if listing.outside:
        files = tuple((path,) for path in listing.outside)
        yield Finding("outside", "warning", f"links followed out of the folder: {len(files):,}.", files)
    if listing.ignored:
        counts = ", ".join(f"{count:,} {escape_unprintable(kind)}" for kind, count in sorted(listing.ignored.items()))
        yield Finding("ignored", "note", f"files ignored: {counts}.")
    files = tuple((path,) for path in listing.paths if path.rpartition("/")[0] not in listing.folders)
    if nested and files:
        text = f"images in subfolders of a class folder, which belong to that class: {len(files):,}."
        yield Finding("nested", "note", text, files)


def _paths(manifest: Manifest, places: Iterable[int]) -> tuple[tuple[str, ...], ...]:
    return tuple((manifest.paths[place],) for place in places)


def _join(words: list[str]) -> str:
    more = f" and {len(words) - _MAX_CLASSES:,} more" if len(words) > _MAX_CLASSES else ""
    return f"{', '.join(words[:_MAX_CLASSES])}{more}"
