"""Writes the result of a data check as an HTML page."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vit_keras.data.doctor.charts import chart_numbers, chart_shorter_sides, chart_sizes
from vit_keras.data.doctor.checkup import Checkup
from vit_keras.data.doctor.findings import Finding, count_classes
from vit_keras.data.images.decode import read_bytes
from vit_keras.data.images.thumbnails import Thumbnails
from vit_keras.data.scan.manifest import MANIFEST, QUARANTINE, Manifest
from vit_keras.reporting.pages import MAX_ROWS, cards, folded, more, page, picture, section, table, tag, text
from vit_keras.reporting.text import plural
from vit_keras.runtime.files import write_text
from vit_keras.version import __version__

_BUDGET = 4_200_000  # bytes of all pictures
_BUDGET_OF_SAMPLES = 2_800_000  # of these
_SAMPLES_PER_CLASS, _MAX_CLASSES, _MAX_OPEN_CLASSES = 24, 50, 12
_MAX_GROUPS, _MAX_PER_GROUP, _MAX_SINGLES = 24, 6, 12
_MAX_TARGETS = 12  # numbers of a regression that get a chart
_WITHOUT_PICTURES = ("skipped", "outside", "nested", "ignored")


def write_report(checkup: Checkup, path: Path) -> None:
    """Writes the page in place of an earlier one; raises `StorageError` if it can't be written."""
    write_text(path, _page(checkup))


def _page(checkup: Checkup) -> str:
    manifest = checkup.manifest
    thumbnails = Thumbnails(manifest.root, budget=_BUDGET, read=_make_reader(manifest))
    place = Path(os.path.abspath(checkup.source)) if os.path.exists(checkup.source) else Path(checkup.source)
    return page(
        f"{place.name}: data check",
        heading=place.name,
        below=str(place),
        body=f"{_cards(checkup)}{_findings(checkup, thumbnails)}{_classes(manifest)}{_sizes(manifest)}"
        f"{_samples(manifest, thumbnails)}{_left_out(manifest)}{_footer(manifest)}",
    )


def _make_reader(manifest: Manifest) -> Callable[[str], bytes] | None:
    """Returns what reads the images of shards by name; None where the images are files."""
    if manifest.members is None:
        return None
    places = {path: index for index, path in enumerate(manifest.paths)}

    def read(name: str) -> bytes:
        path, offset, length = manifest.find_part(places[name])
        return read_bytes(Path(path), offset=offset, length=length)

    return read


def _cards(checkup: Checkup) -> str:
    manifest = checkup.manifest
    found = {finding.kind: len(finding.files) for finding in checkup.findings}
    near = found.get("near conflict", 0) + found.get("near leak", 0)
    images, classes = len(manifest), len(manifest.class_names)
    counts = [
        ("", images, "usable image" if images == 1 else "usable images"),
        ("", classes, _name_labels(manifest, classes)),
        ("error", len(manifest.quarantined), "unusable, left out"),
        ("error", found.get("conflict", 0), "with conflicting labels"),
        ("error", found.get("leak", 0), "in more than one split"),
        ("warning", near, "near-duplicate groups to review"),
    ]
    return cards((level if count else "", f"{count:,}", words) for level, count, words in counts)


def _name_labels(manifest: Manifest, count: int) -> str:
    if manifest.task == "regression":
        return "number per image" if count == 1 else "numbers per image"
    return f"class{'' if count == 1 else 'es'}{', any number per image' if manifest.task == 'multi_label' else ''}"


def _findings(checkup: Checkup, thumbnails: Thumbnails) -> str:
    parts = [_finding(finding, thumbnails) for finding in checkup.findings]
    return section("Findings", "\n".join(parts) or tag("div", "No problems found.", "panel finding"))


def _finding(finding: Finding, thumbnails: Thumbnails) -> str:
    link = ' <a href="#left-out">Show the files</a>' if finding.kind == "quarantined" else ""
    head = tag("span", finding.level, f"level {finding.level}") + tag("span", text(finding.text) + link, "text")
    if link or not finding.files:
        return tag("div", head, "panel finding")
    if finding.kind in _WITHOUT_PICTURES:
        reasons = finding.reasons or [""] * len(finding.files)
        body = table(("path", "reason"), [(path, why) for (path,), why in zip(finding.files, reasons, strict=True)])
    elif max(map(len, finding.files)) == 1:
        pictures = (_figure(path, thumbnails) for (path,) in finding.files[:_MAX_SINGLES])
        body = tag("div", "".join(pictures), "singles") + more(len(finding.files) - _MAX_SINGLES)
    else:
        groups = (_group(group, thumbnails) for group in finding.files[:_MAX_GROUPS])
        body = tag("div", "".join(groups), "groups") + more(len(finding.files) - _MAX_GROUPS)
    return folded(head, body, is_open=finding.level == "error")


def _group(paths: Sequence[str], thumbnails: Thumbnails) -> str:
    pictures = "".join(_figure(path, thumbnails) for path in paths[:_MAX_PER_GROUP])
    return tag("div", pictures + more(len(paths) - _MAX_PER_GROUP), "group")


def _figure(path: str, thumbnails: Thumbnails) -> str:
    image = picture(thumbnails.make(path, reserve=_BUDGET_OF_SAMPLES), path)
    breakable = text(path).replace("/", "/<wbr>").replace("_", "_<wbr>")
    return tag("figure", image + tag("figcaption", breakable))


def _classes(manifest: Manifest) -> str:
    if manifest.task == "regression":
        return _numbers(manifest)
    counts = count_classes(manifest)
    most = max(int(np.sum(list(counts.values()), axis=0).max()), 1)
    rows = []
    for label, name in enumerate(manifest.class_names[:MAX_ROWS]):
        numbers = "".join(tag("td", f"{counted[label]:,}", "number") for counted in counts.values())
        bars = "".join(
            tag(f'i style="width:{100 * counted[label] / most:.2f}%"', "", split) for split, counted in counts.items()
        )
        rows.append(tag("tr", tag("td", text(name), "name") + numbers + tag("td", tag("div", bars), "bar")))
    numbers = "".join(tag("th", split or "images", "number") for split in counts)
    head = tag("thead", tag("tr", f"{tag('th', 'class')}{numbers}<th></th>"))
    counted_table = tag("table", head + tag("tbody", "".join(rows)))
    return section("Images per class", tag("div", counted_table + more(len(manifest.class_names) - MAX_ROWS), "panel"))


def _numbers(manifest: Manifest) -> str:
    """Returns a histogram of each number that a regression predicts."""
    if not len(manifest):
        return ""
    labels = zip(manifest.class_names[:_MAX_TARGETS], manifest.labels.T, strict=False)
    panels = "".join(tag("div", chart_numbers(values, name), "panel") for name, values in labels)
    return section("Numbers", tag("div", panels, "charts") + more(len(manifest.class_names) - _MAX_TARGETS))


def _sizes(manifest: Manifest) -> str:
    if not len(manifest):
        return ""
    columns = manifest.columns
    charts = (chart(columns.widths, columns.heights) for chart in (chart_shorter_sides, chart_sizes))
    kinds = Counter(zip(columns.formats, columns.modes, strict=True)).most_common()
    kinds_table = table(("format", "mode", "images"), [(*kind, f"{count:,}") for kind, count in kinds], numbers={2})
    panels = "".join(tag("div", part, "panel") for part in (*charts, kinds_table))
    return section("Sizes and formats", tag("div", panels, "charts"))


def _samples(manifest: Manifest, thumbnails: Thumbnails) -> str:
    names = manifest.class_names[:_MAX_CLASSES]
    samples = []
    for label, name in enumerate(names):
        places = _find_members(manifest, label)
        spread = np.linspace(0, max(len(places) - 1, 0), min(_SAMPLES_PER_CLASS, len(places)))
        chosen = places[np.unique(spread.round().astype(int))]
        reserve = thumbnails.budget - thumbnails.budget // (len(names) - label)  # for the classes that follow
        images = "".join(
            picture(thumbnails.make(manifest.paths[place], reserve=reserve), manifest.paths[place]) for place in chosen
        )
        shown = f"{len(chosen)} of {plural(len(places), 'image')}"
        head = f"{text(name)} {tag('span', shown, 'soft')}"
        samples.append(folded(head, tag("div", images, "sheet"), is_open=len(names) <= _MAX_OPEN_CLASSES))
    return section("Sample images", "\n".join(samples) + more(len(manifest.class_names) - _MAX_CLASSES))


def _find_members(manifest: Manifest, label: int) -> np.ndarray:
    """Returns the images of a class; of a target of a regression all images, from the lowest number to the highest."""
    if manifest.task == "regression":
        return np.argsort(manifest.labels[:, label], kind="stable")
    return np.flatnonzero(manifest.labels == label if manifest.labels.ndim == 1 else manifest.labels[:, label])


def _left_out(manifest: Manifest) -> str:
    if not manifest.quarantined:
        return ""
    rows = [(item.path, item.class_name, item.split, item.reason) for item in manifest.quarantined]
    return section("Files left out", tag("div", table(("path", "class", "split", "reason"), rows), "panel"), "left-out")


def _footer(manifest: Manifest) -> str:
    places = {"Fingerprint of the usable images": manifest.fingerprint}
    if manifest.folder:
        places |= {
            "Manifest of all files": str(manifest.folder / MANIFEST),
            "List of files left out": str(manifest.folder / QUARANTINE),
        }
    lines = [f"{name}: {tag('code', text(place))}" for name, place in places.items()]
    lines.append(f"vit_keras {text(__version__)}. The files themselves were not changed.")
    return tag("footer", "".join(tag("p", line) for line in lines), "soft") + "\n"
