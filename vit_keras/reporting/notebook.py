"""HTML that notebooks show in place of an object's text: plain tables and pictures, which take the notebook's own style."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from vit_keras.reporting.pages import tag, text

_FIGURE = "display:inline-block; margin:0 .8em .8em 0; text-align:center; vertical-align:top; max-width:9em"
_IMAGE = "width:7em; height:7em; object-fit:contain; image-rendering:{}"
_SMALL = 64  # px, up to which images are enlarged without smoothing


def title(words: str) -> str:
    """Returns a heading; `words` is text."""
    return tag("p", tag("b", text(words)))


def lines(items: Iterable[str]) -> str:
    """Returns a list of lines of text, or nothing if there are none."""
    found = "".join(tag("li", text(item)) for item in items)
    return tag("ul", found) if found else ""


def plain(words: str) -> str:
    """Returns text with its line breaks and columns."""
    return tag("pre", "\n".join(map(text, words.split("\n"))))


def wide_picture(path: Path, *, style: str = "max-width:100%") -> str:
    """Returns a PNG file as an image, by default as wide as the output."""
    url = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    return f'<img src="{url}" alt="{text(path.stem)}" style="{style}">'


def pictures(items: Iterable[tuple[str, str]], *, side: int) -> str:
    """Returns a row of images, each a `data:` URL with its caption; `side` is their longer side, px."""
    style = _IMAGE.format("pixelated" if side <= _SMALL else "auto")
    figures = (
        tag(
            f'figure style="{_FIGURE}"',
            f'<img src="{escape(url)}" alt="{text(caption)}" style="{style}">'
            + tag('figcaption style="font-size:small; overflow-wrap:anywhere"', text(caption)),
        )
        for url, caption in items
    )
    return tag("div", "".join(figures))
