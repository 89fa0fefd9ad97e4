"""Sphinx extension: checks the links of the written pages and how easy each is to read, and reports external links.

A broken link or image inside the site, and a page that is harder to read than the bounds of `scripts/check_prose.py`, is a warning, so
that the build fails. `site/report.txt` lists the rest; nothing is fetched.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from check_prose import LISTS, measure
from myst_nb.sphinx_ import NbMetadataCollector
from reference_pages import COMPLETED
from sphinx.application import Sphinx
from sphinx.util import logging

REPORT = "report.txt"
_LOG = logging.getLogger(__name__)
_LINKS = {"a": "href", "link": "href", "script": "src", "img": "src", "source": "src"}
_CODE = {"code", "pre", "script", "style", "table"}
_NOT_PROSE = {f"{name}.html" for name in ("genindex", "search", "py-modindex", LISTS, *COMPLETED)}  # lists, and figures
_LOADED = {"link", "script", "img", "source"}  # what a browser fetches by itself


class Page(HTMLParser):
    """What one page links to, its anchors, and its prose."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.anchors: set[str] = set()
        self.sentences: list[str] = []
        self._skipped, self._in_paragraph = 0, False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collects links and anchors."""
        values = dict(attributes)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        link = values.get(_LINKS.get(tag, ""))
        if link and values.get("rel") not in ("canonical", "preconnect"):
            self.links.append((tag, link))
        self._skipped += tag in _CODE
        if tag == "code" and self._in_paragraph:
            self.sentences[-1] += "code"  # a word, whatever it is
        if tag == "p" and not self._skipped:
            self._in_paragraph = True
            self.sentences.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leaves a paragraph or code."""
        self._skipped -= tag in _CODE
        self._in_paragraph = self._in_paragraph and tag != "p"

    def handle_data(self, text: str) -> None:
        """Adds text to its paragraph."""
        if self._in_paragraph and not self._skipped:
            self.sentences[-1] += text


def find_broken(pages: dict[Path, Page], root: Path) -> Iterator[str]:
    """Yields each link inside the site that leads nowhere, and each file that a page would load from elsewhere."""
    for path, page in pages.items():
        for tag, link in page.links:
            if urlsplit(link).scheme in ("http", "https") or link.startswith("//"):
                if tag in _LOADED:
                    yield f"{path.relative_to(root)} loads {link}, which needs a network"
                continue
            if urlsplit(link).scheme:
                continue  # data:, mailto:
            place, anchor = urldefrag(link)
            target = (path.parent / unquote(urlsplit(place).path)).resolve() if urlsplit(place).path else path
            if not target.exists():
                yield f"{path.relative_to(root)} links to {link}, which is not there"
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                yield f"{path.relative_to(root)} links to {link}: that page has no such anchor"


def check_pages(app: Sphinx, exception: Exception | None) -> None:
    """Called at the end of the build."""
    if exception is not None or app.builder.name != "html":
        return
    root = Path(app.outdir).resolve()
    pages = {path: Page(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts}
    for problem in find_broken(pages, root):
        _LOG.warning(problem, type="links")
    external = sorted({link for page in pages.values() for tag, link in page.links if link.startswith("http")})
    lines = ["page, Automated Readability Index, words per sentence, longest sentence, passive sentences", ""]
    for path, page in pages.items():
        found, name = measure(page.sentences), path.relative_to(root)
        lines.append(f"{name}: {found.index:.1f}, {found.words_per_sentence:.1f}, {found.longest}, {found.passive:.0%}")
        for problem in () if "generated" in name.parts or name.as_posix() in _NOT_PROSE else found.problems():
            _LOG.warning(f"{name}: {problem}", type="prose")
    lines += ["", "notebooks, seconds to run", ""]
    for name in sorted(app.env.found_docs):
        data = NbMetadataCollector.get_exec_data(app.env, name)
        lines += [f"{name}: {data['runtime']:.0f}"] if data and data["runtime"] else []
    lines += ["", "links that leave the site, not fetched", "", *external]
    (root / REPORT).write_text("\n".join(lines) + "\n", "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", check_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
