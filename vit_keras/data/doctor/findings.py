"""What a person should know of a data set, from what was found of its files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vit_keras.data.scan.inspection import SIXTEEN_BITS
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.manifest import Manifest
from vit_keras.data.sources.split_names import SPLITS
from vit_keras.reporting.text import shown

# CleanVision 0.3.7 calls an image dark whose 99th percentile of brightness is under 0.32, bright whose 5th is over 0.95, low in
# information whose entropy is under 3 bits, odd in size what is further than three interquartile ranges from the quartiles of
# the square roots of the areas; and says nothing of what is true of more than half of the images.
DARK, BRIGHT, FLAT, ODD = 0.32 * 255, 0.95 * 255, 3.0, 3.0
PREVALENT = 0.5
BLANK = 5.0
"""Deviation of the luma, 0..255, under which an image is as good as one colour, and its perceptual hash a matter of chance."""
TINY = 32  # px of the shorter side
HUGE = 12_000_000  # pixels, a telephone's photo
NEARLY_BLACK = 16
"""Brightness, 0..255, that 12 bits in a 16-bit file can reach."""
FEW = 10  # images a class
IMBALANCED = 100  # times
_NAMED = 10  # classes


@dataclass(frozen=True)
class Finding:
    """Something to know.

    Args:
        kind: One word for programs.
        level: "error" is what `strict` refuses, "warning" what to look at, "note" what is so.
        text: What, and what to do.
        files: The files it is about, in groups; what is about one file is a group of one.
        reasons: Of each group, where each has its own.
    """

    kind: str
    level: str
    text: str
    files: tuple[tuple[str, ...], ...] = ()
    reasons: tuple[str, ...] = ()


def counts_of(manifest: Manifest) -> dict[str, np.ndarray]:
    """Returns usable images of each class by split; the split is "" where there are none.

    Args:
        manifest: What was found.
    """
    numbers = np.unique(manifest.splits) if len(manifest) else np.array([-1])
    return {
        SPLITS[number] if number >= 0 else "": np.bincount(
            manifest.labels[manifest.splits == number], minlength=len(manifest.class_names)
        )
        for number in numbers
    }


def training_counts(manifest: Manifest) -> np.ndarray:
    """Returns usable images of each class that training can have.

    Args:
        manifest: What was found.
    """
    counts = counts_of(manifest)
    return counts.get("train", counts.get("", np.zeros(len(manifest.class_names), "int64")))


def class_weights(manifest: Manifest) -> dict[str, float]:
    """Returns what to multiply the loss of each class by for all classes to count the same; 1 on average over the images.

    Args:
        manifest: What was found.
    """
    counts = training_counts(manifest)
    weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
    return dict(zip(manifest.class_names, weights.round(4).tolist(), strict=True))


def left_out(manifest: Manifest) -> Iterator[Finding]:
    """Yields what is to be known of files that can't be used."""
    bad = manifest.quarantined
    if bad:
        total = len(bad) + len(manifest)
        counts = "; ".join(f"{count:,} {reason}" for reason, count in manifest.reasons.most_common())
        text = f"files that can't be used, left out: {len(bad):,} of {total:,} ({len(bad) / total:.2%}): {counts}."
        files, reasons = tuple((item.path,) for item in bad), tuple(item.reason for item in bad)
        yield Finding("quarantined", "error", text, files, reasons)


def copies(manifest: Manifest, groups: list[np.ndarray]) -> Iterator[Finding]:
    """Yields what is to be known of files with the same bytes."""
    yield from _grouped(
        manifest,
        groups,
        conflict=("conflict", "error", "images under more than one label: {}. One at most is right; remove the others."),
        leak=("leak", "error", "images in more than one split: {}. A score on them is of what was learned by heart; keep one."),
        inside=("copy", "note", "images in their class more than once: {}. They weigh more for it."),
    )  # fmt: skip


def look_alikes(manifest: Manifest, groups: list[np.ndarray]) -> Iterator[Finding]:
    """Yields what is to be known of images that look the same."""
    yield from _grouped(
        manifest,
        groups,
        conflict=("near conflict", "warning", "groups of look-alikes under more than one label: {}. Look at them."),
        leak=("near leak", "warning", "groups of look-alikes in more than one split: {}. Look at them."),
        inside=("near copy", "note", "groups of look-alikes in one class: {}."),
    )


def _grouped(
    manifest: Manifest,
    groups: list[np.ndarray],
    *,
    conflict: tuple[str, str, str],
    leak: tuple[str, str, str],
    inside: tuple[str, str, str],
) -> Iterator[Finding]:
    kinds: dict[tuple[str, str, str], list[np.ndarray]] = {conflict: [], leak: [], inside: []}
    for group in groups:
        labels, splits = (len(set(values[group])) for values in (manifest.labels, manifest.splits))
        if labels > 1:
            kinds[conflict].append(group)
        if splits > 1:
            kinds[leak].append(group)
        if labels == splits == 1:
            kinds[inside].append(group)
    for (kind, level, text), found in kinds.items():
        if found:
            files = tuple(tuple(manifest.paths[place] for place in group) for group in found)
            yield Finding(kind, level, text.format(f"{len(found):,}"), files)


def balance(manifest: Manifest) -> Iterator[Finding]:
    """Yields what is to be known of the sizes of classes."""
    counts, names = training_counts(manifest), manifest.class_names
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    if counts[largest] > IMBALANCED * counts[smallest] > 0:
        weights = class_weights(manifest)
        yield Finding(
            "imbalance",
            "warning",
            f"{shown(names[largest])!r} has {counts[largest]:,} images, {shown(names[smallest])!r} {counts[smallest]:,}: the small "
            f"class will hardly be learned. Weights that make up for it are {weights[names[largest]]:.3g} and "
            f"{weights[names[smallest]]:.3g}; the JSON has those of all classes.",
        )
    few = [f"{shown(name)!r} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW]
    if few:
        yield Finding("few", "warning", f"classes with under {FEW} images to train on: {_some(few)}.")
    for split, counted in counts_of(manifest).items():
        absent = [repr(shown(name)) for name, count in zip(names, counted, strict=True) if count == 0]
        if absent and split in SPLITS[1:]:
            text = f"{split} has no image of {_some(absent)}: how well they are told apart is not measured there."
            yield Finding("absent", "warning", text)


def looks(manifest: Manifest) -> Iterator[Finding]:
    """Yields what is to be known of how images look; what is true of most is what the data set is like, and not said."""
    if not len(manifest):
        return
    columns = manifest.columns
    area = columns.widths.astype("int64") * columns.heights
    shorter, side = np.minimum(columns.widths, columns.heights), np.sqrt(area)
    first, third = np.percentile(side, (25, 75))
    distance = np.abs(side - (first + third) / 2)
    odd = distance > np.maximum((ODD + 0.5) * (third - first), third / 2)
    true = [  # which images, and what is the lower the worse
        ("dark", "dark images", columns.highlight < DARK, columns.highlight),
        ("bright", "nearly white images", columns.shadow > BRIGHT, -columns.shadow),
        ("flat", "images that show hardly anything", columns.entropy < FLAT, columns.entropy),
        ("tiny", f"images with a side under {TINY} px", shorter < TINY, shorter),
        (
            "huge",
            f"images of over {HUGE / 1e6:.0f} million pixels, of which smaller copies load faster",
            area > HUGE,
            -area,
        ),
        ("odd size", "images far smaller or larger than the others", odd, -distance),
    ]
    for kind, text, chosen, worst_first in true:
        places = np.flatnonzero(chosen)
        if 0 < len(places) <= PREVALENT * len(manifest):
            places = places[np.argsort(worst_first[places], kind="stable")]
            files = tuple((manifest.paths[place],) for place in places)
            yield Finding(kind, "note", f"{text}: {len(places):,}.", files)


def notes(manifest: Manifest) -> Iterator[Finding]:
    """Yields what was done to images on the way, such as turning them upright."""
    for note, count in manifest.notes.most_common():
        places = (place for place, noted in sorted(manifest.columns.notes.items()) if note in noted)
        files = tuple((manifest.paths[place],) for place in places)
        yield Finding("note", "note", f"{note} ({count:,}).", files)


def nearly_black(manifest: Manifest) -> Iterator[Finding]:
    """Yields what is to be known of 16-bit images that use a small part of the range, as those of 12-bit sensors do."""
    places = [place for place, noted in manifest.columns.notes.items() if SIXTEEN_BITS in noted]
    if places and manifest.columns.highlight[places].max() <= NEARLY_BLACK:
        files = tuple((manifest.paths[place],) for place in places)
        text = (
            f"images of 16 bits a channel that are nearly black: all {len(files):,}. 0..65535 is brought to 0..255, and they seem to use "
            "fewer bits; convert them to 8 bits."
        )
        yield Finding("nearly black", "warning", text, files)


def passed_over(listing: Listing) -> Iterator[Finding]:
    """Yields what is to be known of what else is there."""
    if listing.skipped:
        files, reasons = tuple((path,) for path, _ in listing.skipped), tuple(reason for _, reason in listing.skipped)
        yield Finding("skipped", "warning", f"files and folders passed over: {len(files):,}.", files, reasons)
    if listing.outside:
        files = tuple((path,) for path in listing.outside)
        yield Finding("outside", "warning", f"links followed out of the folder: {len(files):,}.", files)
    if listing.ignored:
        seen = ", ".join(f"{count:,} {shown(word)}" for word, count in sorted(listing.ignored.items()))
        yield Finding("ignored", "note", f"ignored: {seen}.")


def decisions(listing: Listing) -> Iterator[Finding]:
    """Yields how folders or columns were understood."""
    for decision in listing.decisions:
        yield Finding("read", "note", f"{shown(decision)}.")


def nesting(listing: Listing) -> Iterator[Finding]:
    """Yields what is to be known of folders inside class folders."""
    nested = tuple((path,) for path in listing.paths if path.rpartition("/")[0] not in listing.folders)
    if nested:
        text = f"images in folders inside a class folder, which count for that class: {len(nested):,}."
        yield Finding("nested", "note", text, nested)


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return f"{', '.join(listed[:_NAMED])}{more}"
