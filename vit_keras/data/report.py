"""Writes what the data doctor found as one page: no network, no scripts, light and dark, on a desk and on a telephone."""

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from vit_keras.data.charts import shorter_sides, widths_and_heights
from vit_keras.data.checkup import Checkup
from vit_keras.data.findings import Finding, counts_of
from vit_keras.data.manifest import MANIFEST, QUARANTINE, Manifest
from vit_keras.data.names import shown
from vit_keras.data.thumbnails import Thumbnails
from vit_keras.errors import StorageError
from vit_keras.version import __version__

_ROOM = 4_200_000  # bytes of pictures
_ROOM_OF_SHEETS = 2_800_000  # of these
_A_SHEET, _SHEETS, _OPEN_SHEETS = 24, 50, 12
_GROUPS, _A_GROUP, _SINGLES = 24, 6, 12
_ROWS = 500
_WITHOUT_PICTURES = ("skipped", "outside", "nested", "ignored")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(checkup: Checkup, path: Path) -> None:
    """Writes the page.

    Args:
        checkup: What was found.
        path: Where to; it must not exist.

    Raises:
        StorageError: It exists, or can't be written.
    """
    text = _page(checkup).encode("utf-8", "backslashreplace")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(text)
        if path.exists():
            raise StorageError(f"{path} exists, and nothing is overwritten: choose another name, or remove it first.")
        unfinished.replace(path)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: could not be written ({error}).") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _page(checkup: Checkup) -> str:
    manifest = checkup.manifest
    thumbnails = Thumbnails(manifest.root, room=_ROOM)
    name = _text(checkup.source.resolve().name)
    style = files("vit_keras.data").joinpath("report.css").read_text("utf-8")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}: data check</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>\n{style}</style>\n</head>\n<body>\n'
        f'<header><h1>{name}</h1><p class="soft">{_text(str(checkup.source.resolve()))}</p></header>\n'
        f"{_cards(checkup)}{_findings(checkup, thumbnails)}{_classes(manifest)}{_sizes(manifest)}"
        f"{_sheets(manifest, thumbnails)}{_left_out(manifest)}{_footer(manifest)}</body>\n</html>\n"
    )


def _text(words: str) -> str:
    return escape(shown(words))


def _tag(name: str, content: str, kind: str = "") -> str:
    """Returns an element of the page; its content is HTML already."""
    opening = f'{name} class="{kind}"' if kind else name
    return f"<{opening}>{content}</{name.partition(' ')[0]}>"


def _section(title: str, content: str, place: str = "") -> str:
    return _tag(f'section id="{place}"' if place else "section", f"{_tag('h2', title)}\n{content}") + "\n"


def _more(count: int) -> str:
    return _tag("p", f"and {count:,} more", "soft") if count > 0 else ""


def _cards(checkup: Checkup) -> str:
    manifest = checkup.manifest
    found = {finding.kind: len(finding.files) for finding in checkup.findings}
    cards = [
        ("", len(manifest), "usable images"),
        ("", len(manifest.class_names), "classes"),
        ("error", len(manifest.quarantined), "left out"),
        ("error", found.get("conflict", 0), "under two labels"),
        ("error", found.get("leak", 0), "in two splits"),
        ("warning", found.get("near conflict", 0) + found.get("near leak", 0), "look-alikes to judge"),
    ]
    shown_cards = (
        _tag("div", _tag("b", f"{count:,}") + _tag("span", words), f"card {level}" if level and count else "card")
        for level, count, words in cards
    )
    return _tag("section", "".join(shown_cards), "cards") + "\n"


def _findings(checkup: Checkup, thumbnails: Thumbnails) -> str:
    parts = [_finding(finding, thumbnails) for finding in checkup.findings]
    return _section("Findings", "\n".join(parts) or _tag("div", "Nothing is the matter with it.", "panel finding"))


def _finding(finding: Finding, thumbnails: Thumbnails) -> str:
    link = ' <a href="#left-out">Which, and why</a>' if finding.kind == "quarantined" else ""
    head = _tag("span", finding.level, f"level {finding.level}") + _tag("span", _text(finding.text) + link, "text")
    if link or not finding.files:
        return _tag("div", head, "panel finding")
    if finding.kind in _WITHOUT_PICTURES:
        reasons = finding.reasons or [""] * len(finding.files)
        body = _table(("path", "why"), [(path, why) for (path,), why in zip(finding.files, reasons, strict=True)])
    elif max(map(len, finding.files)) == 1:
        pictures = (_captioned(path, thumbnails) for (path,) in finding.files[:_SINGLES])
        body = _tag("div", "".join(pictures), "singles") + _more(len(finding.files) - _SINGLES)
    else:
        groups = (_group(group, thumbnails) for group in finding.files[:_GROUPS])
        body = _tag("div", "".join(groups), "groups") + _more(len(finding.files) - _GROUPS)
    opened = "details open" if finding.level == "error" else "details"
    return _tag(opened, _tag("summary", head) + _tag("div", body))


def _group(paths: Sequence[str], thumbnails: Thumbnails) -> str:
    pictures = "".join(_captioned(path, thumbnails) for path in paths[:_A_GROUP])
    return _tag("div", pictures + _more(len(paths) - _A_GROUP), "group")


def _captioned(path: str, thumbnails: Thumbnails) -> str:
    image = _image(path, thumbnails, reserve=_ROOM_OF_SHEETS)
    places_to_break = _text(path).replace("/", "/<wbr>").replace("_", "_<wbr>")
    return _tag("figure", image + _tag("figcaption", places_to_break))


def _image(path: str, thumbnails: Thumbnails, *, reserve: int) -> str:
    address = thumbnails.address(path, reserve=reserve)
    if address is None:
        return _tag("div", "not shown", "missing")
    return f'<img src="{address}" alt="{_text(path)}" title="{_text(path)}">'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ("".join(_tag("td", _text(cell), "name") for cell in row) for row in rows[:_ROWS])
    head = _tag("thead", _tag("tr", "".join(_tag("th", word) for word in heads)))
    return _tag("table", head + _tag("tbody", "".join(_tag("tr", row) for row in cells))) + _more(len(rows) - _ROWS)


def _classes(manifest: Manifest) -> str:
    counts = counts_of(manifest)
    most = max(int(np.sum(list(counts.values()), axis=0).max()), 1)
    rows = []
    for label, name in enumerate(manifest.class_names[:_ROWS]):
        numbers = "".join(_tag("td", f"{counted[label]:,}", "number") for counted in counts.values())
        bars = "".join(
            _tag(f'i style="width:{100 * counted[label] / most:.2f}%"', "", split) for split, counted in counts.items()
        )
        rows.append(_tag("tr", _tag("td", _text(name), "name") + numbers + _tag("td", _tag("div", bars), "bar")))
    numbers = "".join(_tag("th", split or "images", "number") for split in counts)
    head = _tag("thead", _tag("tr", f"{_tag('th', 'class')}{numbers}<th></th>"))
    table = _tag("table", head + _tag("tbody", "".join(rows)))
    return _section("Classes", _tag("div", table + _more(len(manifest.class_names) - _ROWS), "panel"))


def _sizes(manifest: Manifest) -> str:
    if not len(manifest):
        return ""
    columns = manifest.columns
    charts = (chart(columns.widths, columns.heights) for chart in (shorter_sides, widths_and_heights))
    kinds = Counter(zip(columns.formats, columns.modes, strict=True)).most_common()
    table = _table(("format", "mode", "images"), [(*kind, f"{count:,}") for kind, count in kinds])
    panels = "".join(_tag("div", part, "panel") for part in (*charts, table))
    return _section("Sizes and formats", _tag("div", panels, "charts"))


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
        head = f"{_text(name)} {_tag('span', f'{len(chosen)} of {len(places):,}', 'soft')}"
        opened = "details open" if len(names) <= _OPEN_SHEETS else "details"
        sheets.append(_tag(opened, _tag("summary", head) + _tag("div", _tag("div", images, "sheet"))))
    return _section("A look at each class", "\n".join(sheets) + _more(len(manifest.class_names) - _SHEETS))


def _left_out(manifest: Manifest) -> str:
    if not manifest.quarantined:
        return ""
    rows = [(item.path, item.class_name, item.split, item.reason) for item in manifest.quarantined]
    table = _table(("path", "class", "split", "why"), rows)
    return _section("Left out", _tag("div", table, "panel"), "left-out")


def _footer(manifest: Manifest) -> str:
    places = {"Fingerprint": manifest.fingerprint}
    if manifest.folder:
        places |= {"Manifest": str(manifest.folder / MANIFEST), "Left out": str(manifest.folder / QUARANTINE)}
    lines = [f"{name}: {_tag('code', _text(place))}" for name, place in places.items()]
    lines.append(f"vit_keras {_text(__version__)}. The files themselves were not changed.")
    return _tag("footer", "".join(_tag("p", line) for line in lines), "soft") + "\n"
