"""The table of presets, which a reader sorts and searches, one row per preset."""

import html
from typing import Any

import vit_keras as vk

COLUMNS = (
    "preset",
    "family",
    "parameters, M",
    "GMACs",
    "training, MiB",
    "image",
    "patch",
    "best top-1, %",
    "weights",
    "licenses",
)
TEXT = """# Presets

<p><label for="preset-search">Search</label> <input type="search" id="preset-search" placeholder="dinov2 apache 384">
<span id="preset-count" role="status"></span></p>

<table id="preset-table"><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table>
<script src="../../_static/presets.js"></script>

A click on a column's title sorts by it. Parameters and GMACs (10^9 multiply-adds per image, forward) are without a head; training is the
memory of activations per image that the backward pass keeps, float32; top-1 is ImageNet-1k accuracy by timm or the paper, of the most accurate
weights at the preset's image size. `vit-keras list` prints the table in a terminal, and `vit-keras list --csv` a row for each checkpoint, with its address.
"""


def make_pages() -> dict[str, str]:
    """Returns the page by its file name."""
    head = "".join(f'<th scope="col"><button type="button">{name}</button></th>' for name in COLUMNS)
    rows = "\n".join(_make_row(vk.preset_info(name)) for name in vk.list_presets())
    return {"presets.md": TEXT.format(head=head, rows=rows)}


def _make_row(info: Any) -> str:
    config = vk.load_preset(info["name"]).config
    weights = info["weights"].values()
    best = max((each["top1"] for each in weights if each["top1"]), default=None)
    licenses = sorted({each["license"] for each in weights} or {info["license"]})
    height, width = config.image_size
    cells: list[tuple[str, float | None]] = [
        (f'<code title="{html.escape(info["description"])}">{info["name"]}</code>', None),
        (info["family"], None),
        (f"{info['params'] / 1e6:.1f}", info["params"]),
        (f"{info['gmacs']:.2f}", info["gmacs"]),
        (f"{info['activation_mib']:,.0f}", info["activation_mib"]),
        (f"{height}" if height == width else f"{height} x {width}", height * width),
        (str(config.patch_size), config.patch_size),
        ("" if best is None else f"{best:.1f}", best or 0),
        ("<br>".join(info["weights"]), len(info["weights"])),
        ("<br>".join(map(html.escape, licenses)), None),
    ]
    tags = "".join(f"<td>{text}</td>" if key is None else f'<td data-key="{key:g}">{text}</td>' for text, key in cells)
    return f"<tr>{tags}</tr>"
