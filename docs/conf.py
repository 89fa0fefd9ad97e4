"""The site's settings; `make docs` builds it into `site/`.

Sphinx with MyST reads the pages that GitHub shows too, and takes the reference from docstrings; its search needs no server. Furo is its best-kept
theme for reading. Zensical, which follows mkdocs-material, was still at 0.1 when this was chosen.
"""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent / "scripts")]
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # cells run `vit-keras`
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

project = "vit_keras"
author = "The authors of vit_keras"
copyright = f"{author}, Apache-2.0"
version = release = installed_version("vit-keras-zoo")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "diagrams",
    "notebook_links",
    "page_report",
    "reference_pages",
]
exclude_patterns = ["extensions"]
suppress_warnings = ["misc.highlighting_failure", "ref.python"]  # JSON with "..."; a name that two packages list
html_theme = "furo"
html_title = "vit_keras"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "github-dark"

default_role = "code"  # docstrings write `name` as Markdown does
maximum_signature_line_length = 100  # longer ones have a line for each argument
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_custom_sections = [("Shapes", "params_style")]  # what our layers take and return

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
copybutton_exclude = ".linenos, .gp, .go"
nb_execution_mode = "force"  # every notebook runs at each build
nb_execution_in_temp = True
nb_execution_timeout = 1800  # of a cell; a busy machine takes many times as long as a quiet one
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # what libraries log
