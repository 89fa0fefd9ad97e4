"""Sphinx extension: each page that is a notebook gets a link to download it as one, with the outputs of this build."""

import os
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx


def is_notebook(path: Path) -> bool:
    """Returns whether a page has the header of a jupytext notebook."""
    text = path.read_text("utf-8")
    return text.startswith("---\n") and "format_name: myst" in text.split("\n---\n")[0]


def add_link(app: Sphinx, document: nodes.document) -> None:
    """Called when a page was read and its cells were run: the link stands below the title."""
    page = app.env.docname
    if not is_notebook(Path(app.env.doc2path(page))):
        return
    executed = Path(app.env.mystnb_config.output_folder, f"{page}.ipynb")
    link = download_reference("", "", reftarget="/" + os.path.relpath(executed, app.srcdir))
    link += nodes.inline("", "Download this page as a notebook")
    title = next(iter(document.findall(nodes.title)))
    title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", "", link, classes=["notebook-link"]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", add_link, priority=400)  # before Sphinx collects downloads
    return {"parallel_read_safe": True, "parallel_write_safe": True}
