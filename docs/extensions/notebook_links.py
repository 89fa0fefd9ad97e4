"""Sphinx extension: each page that is a notebook gets a link to download it as one, with the outputs of this build."""

import json
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx

_PAGE_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)")


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


def drop_page_links(app: Sphinx, exception: Exception | None) -> None:
    """Called at the end of the build: a downloaded notebook stands alone, so its links to other pages become text."""
    for path in () if exception else Path(app.outdir).glob("_downloads/*/*.ipynb"):
        notebook = json.loads(path.read_text("utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = _PAGE_LINK.sub(r"\1", "".join(cell["source"]))
        path.write_text(json.dumps(notebook, indent=1), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", add_link, priority=400)  # before Sphinx collects downloads
    app.connect("build-finished", drop_page_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
