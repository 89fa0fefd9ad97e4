"""Sphinx extension: writes the reference from the code and its data at each build.

Pages of public names and of commands are files in `reference/generated/`. Pages that others link to are committed, so that the links lead
somewhere in the repository, too: between two comments, each says where its data is, and the build puts the data there.
"""

import inspect
import re
from pathlib import Path
from typing import Any

import api_pages
import card_pages
import command_pages
import measurement_pages
import preset_pages
import recipe_pages
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.inspect import stringify_signature

COMPLETED = {
    "reference/cards": card_pages.make_text,
    "reference/measurements": measurement_pages.make_text,
    "reference/presets": preset_pages.make_text,
    "reference/recipes": recipe_pages.make_text,
}
_REPLACED = re.compile(r"<!-- until the build -->\n.*?<!-- end -->\n", re.DOTALL)


def write_all(app: Sphinx) -> None:
    """Writes the pages to `reference/generated/`; what didn't change keeps its file, so that Sphinx doesn't read it again."""
    folder = Path(app.srcdir) / "reference" / "generated"
    pages = api_pages.make_pages() | command_pages.make_pages()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def complete(name: str, page: str) -> str:
    """Returns a committed page with its data, or any other page as it is."""
    if name not in COMPLETED:
        return page
    if len(_REPLACED.findall(page)) != 1:
        raise ExtensionError(f"docs/{name}.md needs one part between `<!-- until the build -->` and `<!-- end -->`")
    return _REPLACED.sub(lambda _: COMPLETED[name](), page)


def read_page(app: Sphinx, name: str, content: list[str]) -> None:
    """Called when a page is read."""
    content[0] = complete(name, content[0])


def list_outdated(app: Sphinx, *pages: Any) -> list[str]:
    """Called before pages are read: the data may have changed where the page has not."""
    return list(COMPLETED)


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
    app.connect("env-get-outdated", list_outdated)
    app.connect("source-read", read_page)
    app.connect("autodoc-process-signature", correct_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
