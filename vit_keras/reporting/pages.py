"""Pages that hold everything they show: no network, no scripts, light and dark, on a desk and on a telephone."""

from collections.abc import Collection, Iterable, Sequence
from html import escape
from importlib.resources import files

from vit_keras.reporting.text import shown

MOST_ROWS = 500
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def text(words: str) -> str:
    r"""Returns words as a page may hold them: never markup, and what can't be printed spelled out.

    Args:
        words: A name, a path, anything that others wrote.

    Example:
        >>> text("<script>\n")
        '&lt;script&gt;\\n'
    """
    return escape(shown(words))


def tag(name: str, content: str, kind: str = "") -> str:
    """Returns an element.

    Args:
        name: Its name, with attributes behind it where it has some.
        content: What is inside, HTML already.
        kind: Its class; an empty word for none.

    Example:
        >>> tag("td", "3", "number")
        '<td class="number">3</td>'
    """
    opening = f'{name} class="{kind}"' if kind else name
    return f"<{opening}>{content}</{name.partition(' ')[0]}>"


def section(title: str, content: str, place: str = "") -> str:
    """Returns a part of a page under its heading.

    Args:
        title: The heading, HTML already.
        content: HTML.
        place: What a link calls it; an empty word for nothing.
    """
    return tag(f'section id="{place}"' if place else "section", f"{tag('h2', title)}\n{content}") + "\n"


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Returns the large figures that a page begins with.

    Args:
        items: Of each its level ("error", "warning" or nothing), the figure, and what it is; the last two HTML already.
    """
    parts = (
        tag("div", tag("b", figure) + tag("span", words), f"card {level}" if level else "card")
        for level, figure, words in items
    )
    return tag("section", "".join(parts), "cards") + "\n"


def more(count: int) -> str:
    """Returns a line that says how many were not shown; nothing where all were.

    Args:
        count: How many.
    """
    return tag("p", f"and {count:,} more", "soft") if count > 0 else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()) -> str:
    """Returns a table of words; from the 501st row on they are counted.

    Args:
        heads: What stands over the columns.
        rows: Words, which are made safe here.
        numbers: Which columns hold numbers, from 0.
    """

    def line(element: str, cells: Iterable[str], otherwise: str) -> str:
        kinds = ("number" if place in numbers else otherwise for place in range(len(heads)))
        return tag("tr", "".join(tag(element, cell, kind) for cell, kind in zip(cells, kinds, strict=True)))

    body = "".join(line("td", map(text, row), "name") for row in rows[:MOST_ROWS])
    return tag("table", tag("thead", line("th", heads, "")) + tag("tbody", body)) + more(len(rows) - MOST_ROWS)


def folded(title: str, content: str, *, is_open: bool = False) -> str:
    """Returns a part of a page that a click opens and closes.

    Args:
        title: What is always shown, HTML already.
        content: HTML.
        is_open: Whether it is open at first.
    """
    return tag("details open" if is_open else "details", tag("summary", title) + tag("div", content))


def picture(address: str | None, title: str) -> str:
    """Returns an image, or the place where it would be.

    Args:
        address: Its pixels as a `data:` address; None where there are none.
        title: What it is of.
    """
    if address is None:
        return tag("div", "not shown", "missing")
    return f'<img src="{address}" alt="{text(title)}" title="{text(title)}">'


def page(title: str, *, heading: str, below: str, body: str) -> str:
    """Returns a whole page.

    Args:
        title: What a browser's tab says.
        heading: The largest line.
        below: The line under it.
        body: The rest, HTML already.
    """
    style = files("vit_keras.reporting").joinpath("pages.css").read_text("utf-8")
    header = f'<header><h1>{text(heading)}</h1><p class="soft">{text(below)}</p></header>\n'
    return document(title, policy=_POLICY, style=style, body=header + body)


def document(title: str, *, policy: str, style: str, body: str) -> str:
    """Returns a whole page with a style of its own.

    Args:
        title: What a browser's tab says.
        policy: What the page may load and run.
        style: CSS, behind the colours that all pages have.
        body: HTML already.
    """
    style = files("vit_keras.reporting").joinpath("palette.css").read_text("utf-8") + style
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>\n{style}</style>\n</head>\n<body>\n'
        f"{body}</body>\n</html>\n"
    )
