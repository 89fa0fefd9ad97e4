"""Builds self-contained HTML pages: no network, no scripts, light and dark, for wide and narrow screens."""

from collections.abc import Collection, Iterable, Sequence
from html import escape
from importlib.resources import files

from vit_keras.reporting.text import escape_unprintable

MAX_ROWS = 500
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def text(words: str) -> str:
    """Escapes untrusted text for HTML, and characters that can't be printed."""
    return escape(escape_unprintable(words))


def tag(name: str, content: str, css_class: str = "") -> str:
    """Returns an element; `content` is HTML, and `name` may include attributes."""
    opening = f'{name} class="{css_class}"' if css_class else name
    return f"<{opening}>{content}</{name.partition(' ')[0]}>"


def section(title: str, content: str, anchor: str = "") -> str:
    """Returns a section with a heading; all arguments are HTML."""
    return tag(f'section id="{anchor}"' if anchor else "section", f"{tag('h2', title)}\n{content}") + "\n"


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Returns a row of large figures: level ("error", "warning" or ""), figure and label of each, the last two HTML."""
    parts = (
        tag("div", tag("b", figure) + tag("span", words), f"card {level}" if level else "card")
        for level, figure, words in items
    )
    return tag("section", "".join(parts), "cards") + "\n"


def more(count: int) -> str:
    """Returns the line "and `count` more", or nothing if `count` is not positive."""
    return tag("p", f"and {count:,} more", "soft") if count > 0 else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()) -> str:
    """Returns a table of the first `MAX_ROWS` rows, which scrolls where it is too wide: `heads` are HTML, cells text, which is escaped; `numbers` the columns of numbers."""

    def row(element: str, cells: Iterable[str], otherwise: str) -> str:
        classes = ("number" if index in numbers else otherwise for index in range(len(heads)))
        return tag("tr", "".join(tag(element, cell, each) for cell, each in zip(cells, classes, strict=True)))

    body = "".join(row("td", map(text, cells), "name") for cells in rows[:MAX_ROWS])
    found = tag("table", tag("thead", row("th", heads, "")) + tag("tbody", body))
    return tag("div", found, "scroll") + more(len(rows) - MAX_ROWS)


def folded(title: str, content: str, *, is_open: bool = False) -> str:
    """Returns a collapsible part of a page; title and content are HTML."""
    return tag("details open" if is_open else "details", tag("summary", title) + tag("div", content))


def picture(url: str | None, title: str) -> str:
    """Returns an image, or a placeholder without a `data:` URL."""
    if url is None:
        return tag("div", "not shown", "missing")
    return f'<img src="{url}" alt="{text(title)}" title="{text(title)}">'


def page(title: str, *, heading: str, below: str, body: str) -> str:
    """Returns a whole page: title, heading and the line below it are text, the body is HTML."""
    style = files("vit_keras.reporting").joinpath("pages.css").read_text("utf-8")
    header = f'<header><h1>{text(heading)}</h1><p class="soft">{text(below)}</p></header>\n'
    return document(title, policy=_POLICY, style=style, body=header + body)


def document(title: str, *, policy: str, style: str, body: str) -> str:
    """Returns a whole page with its own content security policy, and CSS in addition to the common palette."""
    style = files("vit_keras.reporting").joinpath("palette.css").read_text("utf-8") + style
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>\n{style}</style>\n</head>\n<body>\n'
        f"{body}</body>\n</html>\n"
    )
