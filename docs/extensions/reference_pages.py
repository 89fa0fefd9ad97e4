"""Sphinx extension: writes the reference pages before each build, from the code itself."""

import inspect
from pathlib import Path
from typing import Any

import api_pages
import card_pages
import command_pages
import measurement_pages
import preset_pages
import recipe_pages
from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature


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


def correct_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, None] | None:
    """Called for each signature: Keras' layers and optimizers have a `__new__` that hides the arguments of their `__init__`."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    found = inspect.signature(value)
    return stringify_signature(found, show_return_annotation=False, unqualified_typehints=True), None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_all)
    app.connect("autodoc-process-signature", correct_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
