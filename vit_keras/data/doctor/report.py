"""Writes what the data doctor found as one page: no network, no scripts, light and dark, on a desk and on a telephone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vit_keras.data.doctor.charts import shorter_sides, widths_and_heights
from vit_keras.data.doctor.checkup import Checkup
from vit_keras.data.doctor.findings import Finding, counts_of
from vit_keras.data.images.thumbnails import Thumbnails
from vit_keras.data.scan.manifest import MANIFEST, QUARANTINE, Manifest
from vit_keras.errors import StorageError
from vit_keras.reporting.pages import (
    MOST_ROWS,
    cards,
    folded,
    more,
    page,
    picture,
    section,
    table,
    tag,
    text,
)
from vit_keras.runtime.files import write_text
from vit_keras.version import __version__

_ROOM = 4_200_000  # bytes of pictures
_ROOM_OF_SHEETS = 2_800_000  # of these
_A_SHEET, _SHEETS, _OPEN_SHEETS = 24, 50, 12
_GROUPS, _A_GROUP, _SINGLES = 24, 6, 12
_WITHOUT_PICTURES = ("skipped", "outside", "nested", "ignored")


def write_report(checkup: Checkup, path: Path) -> None:
    """Writes the page.

    Args:
        checkup: What was found.
        path: Where to; it must not exist.

    Raises:
        StorageError: It exists, or can't be written.
    """
    content = _page(checkup)
    if path.exists():
        raise StorageError(f"{path} exists, and nothing is overwritten: choose another name, or remove it first.")
    write_text(path, content)


def _page(checkup: Checkup) -> str:
    manifest = checkup.manifest
    thumbnails = Thumbnails(manifest.root, room=_ROOM)
    place = checkup.source.resolve()
    return page(
        f"{place.name}: data check",
        heading=place.name,
        below=str(place),
        body=f"{_cards(checkup)}{_findings(checkup, thumbnails)}{_classes(manifest)}{_sizes(manifest)}"
        f"{_sheets(manifest, thumbnails)}{_left_out(manifest)}{_footer(manifest)}",
    )


def _cards(checkup: Checkup) -> str:
    manifest = checkup.manifest
    found = {finding.kind: len(finding.files) for finding in checkup.findings}
    counts = [
        ("", len(manifest), "usable images"),
        ("", len(manifest.class_names), "classes"),
        ("error", len(manifest.quarantined), "left out"),
        ("error", found.get("conflict", 0), "under two labels"),
        ("error", found.get("leak", 0), "in two splits"),
        ("warning", found.get("near conflict", 0) + found.get("near leak", 0), "look-alikes to judge"),
    ]
    return cards((level if count else "", f"{count:,}", words) for level, count, words in counts)


def _findings(checkup: Checkup, thumbnails: Thumbnails) -> str:
    parts = [_finding(finding, thumbnails) for finding in checkup.findings]
    return section("Findings", "\n".join(parts) or tag("div", "Nothing is the matter with it.", "panel finding"))


def _finding(finding: Finding, thumbnails: Thumbnails) -> str:
    link = ' <a href="#left-out">Which, and why</a>' if finding.kind == "quarantined" else ""
    head = tag("span", finding.level, f"level {finding.level}") + tag("span", text(finding.text) + link, "text")
    if link or not finding.files:
        return tag("div", head, "panel finding")
    if finding.kind in _WITHOUT_PICTURES:
        reasons = finding.reasons or [""] * len(finding.files)
        body = table(("path", "why"), [(path, why) for (path,), why in zip(finding.files, reasons, strict=True)])
    elif max(map(len, finding.files)) == 1:
        pictures = (_captioned(path, thumbnails) for (path,) in finding.files[:_SINGLES])
        body = tag("div", "".join(pictures), "singles") + more(len(finding.files) - _SINGLES)
    else:
        groups = (_group(group, thumbnails) for group in finding.files[:_GROUPS])
        body = tag("div", "".join(groups), "groups") + more(len(finding.files) - _GROUPS)
    return folded(head, body, is_open=finding.level == "error")


def _group(paths: Sequence[str], thumbnails: Thumbnails) -> str:
    pictures = "".join(_captioned(path, thumbnails) for path in paths[:_A_GROUP])
    return tag("div", pictures + more(len(paths) - _A_GROUP), "group")


def _captioned(path: str, thumbnails: Thumbnails) -> str:
    image = _image(path, thumbnails, reserve=_ROOM_OF_SHEETS)
    places_to_break = text(path).replace("/", "/<wbr>").replace("_", "_<wbr>")
    return tag("figure", image + tag("figcaption", places_to_break))


def _image(path: str, thumbnails: Thumbnails, *, reserve: int) -> str:
    return picture(thumbnails.address(path, reserve=reserve), path)


def _classes(manifest: Manifest) -> str:
    counts = counts_of(manifest)
    most = max(int(np.sum(list(counts.values()), axis=0).max()), 1)
    rows = []
    for label, name in enumerate(manifest.class_names[:MOST_ROWS]):
        numbers = "".join(tag("td", f"{counted[label]:,}", "number") for counted in counts.values())
        bars = "".join(
            tag(f'i style="width:{100 * counted[label] / most:.2f}%"', "", split) for split, counted in counts.items()
        )
        rows.append(tag("tr", tag("td", text(name), "name") + numbers + tag("td", tag("div", bars), "bar")))
    numbers = "".join(tag("th", split or "images", "number") for split in counts)
    head = tag("thead", tag("tr", f"{tag('th', 'class')}{numbers}<th></th>"))
    counted_table = tag("table", head + tag("tbody", "".join(rows)))
    return section("Classes", tag("div", counted_table + more(len(manifest.class_names) - MOST_ROWS), "panel"))


def _sizes(manifest: Manifest) -> str:
    if not len(manifest):
        return ""
    columns = manifest.columns
    charts = (chart(columns.widths, columns.heights) for chart in (shorter_sides, widths_and_heights))
    kinds = Counter(zip(columns.formats, columns.modes, strict=True)).most_common()
    kinds_table = table(("format", "mode", "images"), [(*kind, f"{count:,}") for kind, count in kinds])
    panels = "".join(tag("div", part, "panel") for part in (*charts, kinds_table))
    return section("Sizes and formats", tag("div", panels, "charts"))


def _sheets(manifest: Manifest, thumbnails: Thumbnails) -> str:
    names = manifest.class_names[:_SHEETS]
    sheets = []
    for label, name in enumerate(names):
        places = np.flatnonzero(manifest.labels == label)
        chosen = places[
            np.unique(np.linspace(0, max(len(places) - 1, 0), min(_A_SHEET, len(places))).round().astype(int))
        ]
        reserve = thumbnails.room - thumbnails.room // (len(names) - label)  # for the classes to come
        images = "".join(_image(manifest.paths[place], thumbnails, reserve=reserve) for place in chosen)
        head = f"{text(name)} {tag('span', f'{len(chosen)} of {len(places):,}', 'soft')}"
        sheets.append(folded(head, tag("div", images, "sheet"), is_open=len(names) <= _OPEN_SHEETS))
    return section("A look at each class", "\n".join(sheets) + more(len(manifest.class_names) - _SHEETS))


def _left_out(manifest: Manifest) -> str:
    if not manifest.quarantined:
        return ""
    rows = [(item.path, item.class_name, item.split, item.reason) for item in manifest.quarantined]
    return section("Left out", tag("div", table(("path", "class", "split", "why"), rows), "panel"), "left-out")


def _footer(manifest: Manifest) -> str:
    places = {"Fingerprint": manifest.fingerprint}
    if manifest.folder:
        places |= {"Manifest": str(manifest.folder / MANIFEST), "Left out": str(manifest.folder / QUARANTINE)}
    lines = [f"{name}: {tag('code', text(place))}" for name, place in places.items()]
    lines.append(f"vit_keras {text(__version__)}. The files themselves were not changed.")
    return tag("footer", "".join(tag("p", line) for line in lines), "soft") + "\n"
