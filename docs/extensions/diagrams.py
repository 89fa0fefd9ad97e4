"""Sphinx extension: draws the flowcharts that GitHub draws from `mermaid` code, as SVG in the page, without a script.

Only what our pages use: `flowchart TD`, boxes `name["label"]`, and arrows `name --> other`. Any other line ends the build.
"""

import re
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

HEIGHT, GAP, PADDING, CHARACTER = 30, 22, 14, 7.4  # px; the width of a character at 13 px
_BOX = re.compile(r'(\w+)\["(.+)"\]')
_ARROW = re.compile(r"(\w+) --> (\w+)")
_HEAD = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
)


def read_flowchart(code: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Returns the labels of the boxes by name, and the arrows."""
    first, *lines = [line.strip() for line in code.strip().splitlines()]
    labels: dict[str, str] = {}
    arrows: list[tuple[str, str]] = []
    for line in lines:
        if match := _BOX.fullmatch(line):
            labels[match[1]] = match[2]
        elif match := _ARROW.fullmatch(line):
            arrows.append((match[1], match[2]))
        else:
            raise ExtensionError(f"docs/extensions/diagrams.py does not draw this line of a flowchart: {line}")
    if first != "flowchart TD":
        raise ExtensionError(f"docs/extensions/diagrams.py draws 'flowchart TD', not {first!r}")
    return labels, arrows


def rank_boxes(labels: dict[str, str], arrows: list[tuple[str, str]]) -> list[list[str]]:
    """Returns the boxes in rows: each below all that point to it. Arrows have no circles."""
    rank = dict.fromkeys(labels, 0)
    for _ in labels:
        for start, end in arrows:
            rank[end] = max(rank[end], rank[start] + 1)
    return [[name for name in labels if rank[name] == row] for row in range(max(rank.values()) + 1)]


def draw_flowchart(code: str) -> str:
    """Returns the flowchart as an `<svg>` element in the colors of the page."""
    labels, arrows = read_flowchart(code)
    rows = rank_boxes(labels, arrows)
    widths = {name: len(label) * CHARACTER + 2 * PADDING for name, label in labels.items()}
    whole = max(sum(widths[name] for name in row) + GAP * (len(row) - 1) for row in rows) + 2
    centers: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (whole - sum(widths[name] for name in row) - GAP * (len(row) - 1)) / 2
        for name in row:
            centers[name] = (left + widths[name] / 2, 1 + number * (HEIGHT + GAP) + HEIGHT / 2)
            left += widths[name] + GAP
    boxes = [
        f'<rect x="{x - widths[name] / 2:g}" y="{y - HEIGHT / 2:g}" width="{widths[name]:g}" height="{HEIGHT}" rx="5"/>'
        f'<text x="{x:g}" y="{y + 4.5:g}">{escape(labels[name])}</text>'
        for name, (x, y) in centers.items()
    ]
    lines = [
        f'<path d="M{centers[start][0]:g} {centers[start][1] + HEIGHT / 2:g}L{centers[end][0]:g} {centers[end][1] - HEIGHT / 2:g}" '
        'marker-end="url(#arrow)"/>'
        for start, end in arrows
    ]
    height = len(rows) * (HEIGHT + GAP) - GAP + 2
    title = "; ".join(labels.values())
    return (
        f'<svg class="flowchart" role="img" aria-label="{escape(title)}" viewBox="0 0 {whole:g} {height}" style="max-width:{whole:g}px">'
        f"{_HEAD}{''.join(lines)}{''.join(boxes)}</svg>"
    )


def replace_code(app: Sphinx, document: nodes.document) -> None:
    """Called when a page was read."""
    for block in list(document.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            block.replace_self(nodes.raw("", draw_flowchart(block.astext()), format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", replace_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
