"""The table of presets, which a reader sorts and searches, one row per preset."""

import html
from typing import Any

import vit_keras as vk

COLUMNS = ("preset", "parameters, M", "GMACs", "memory, MiB", "image", "patch", "top-1, %", "license", "weights")
TEXT = """<p><label for="preset-search">Search</label> <input type="search" id="preset-search" placeholder="dinov2 apache 384">
<span id="preset-count" role="status"></span></p>

<div class="wide" role="region" aria-label="Table of presets" tabindex="0">
<table id="preset-table"><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table>
</div>
<script src="../_static/presets.js"></script>

Click a column's title to sort by it, or press Enter on it. The search also looks at families, descriptions and names of weights.
"""


def make_text() -> str:
    """Returns the table, and how it is used, in HTML and Markdown."""
    head = "".join(f'<th scope="col"><button type="button">{name}</button></th>' for name in COLUMNS)
    rows = "\n".join(_make_row(vk.preset_info(name)) for name in vk.list_presets())
    return TEXT.format(head=head, rows=rows)


def _make_row(info: Any) -> str:
    config = vk.load_preset(info["name"]).config
    weights = info["weights"]
    best = max((each["top1"] for each in weights.values() if each["top1"]), default=None)
    licenses = sorted({each["license"] for each in weights.values()} or {info["license"]})
    height, width = config.image_size
    cells: list[tuple[str, float | None]] = [
        (_format_name(info), None),
        (f"{info['params'] / 1e6:,.1f}", info["params"]),
        (f"{info['gmacs']:,.2f}", info["gmacs"]),
        (f"{info['activation_mib']:,.0f}", info["activation_mib"]),
        (f"{height}" if height == width else f"{height} x {width}", height * width),
        (str(config.patch_size), config.patch_size),
        ("" if best is None else f"{best:.1f}", best or 0),
        ("<br>".join(map(html.escape, licenses)), None),
        (_list_weights(weights), len(weights)),
    ]
    tags = "".join(f"<td>{text}</td>" if key is None else f'<td data-key="{key:g}">{text}</td>' for text, key in cells)
    return f"<tr>{tags}</tr>"


def _format_name(info: Any) -> str:
    """Returns the name, which may break after each underscore; its family and description are found by the search."""
    name = info["name"].replace("_", "_<wbr>")
    found = html.escape(f"{info['family']}: {info['description']}")
    return f'<code>{name}</code><span class="hidden-words">{found}</span>'


def _list_weights(weights: Any) -> str:
    """Returns the tags with their accuracy and license, folded."""
    if not weights:
        return ""
    lines = []
    for tag, each in weights.items():
        facts = [f"{each['top1']:.1f} %"] if each["top1"] else []
        facts.append(html.escape(each["license"]))
        lines.append(f"<li><code>{tag.replace('_', '_<wbr>')}</code> {', '.join(facts)}</li>")
    return f"<details><summary>{len(weights)}</summary><ul>{''.join(lines)}</ul></details>"
