"""Sphinx extension: writes the reference pages before each build, from the code itself."""

from pathlib import Path

import api_pages
import card_pages
import command_pages
import measurement_pages
import preset_pages
import recipe_pages
from sphinx.application import Sphinx


def write_all(app: Sphinx) -> None:
    """Writes the pages to `reference/generated/`; what didn't change keeps its file, so that Sphinx doesn't read it again."""
    folder = Path(app.srcdir) / "reference" / "generated"
    pages: dict[str, str] = {}
    for module in (api_pages, card_pages, command_pages, measurement_pages, preset_pages, recipe_pages):
        pages |= module.make_pages()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
