"""How Sphinx builds the documentation: Markdown by MyST, and the reference by autodoc.

`uv run --group docs sphinx-build -W -b html docs build/site` writes the pages.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `reference_tables`

from callsheet import __version__

project = "Callsheet"
copyright = "2026, the Callsheet authors"  # noqa: A001  # the name that Sphinx reads
version = release = __version__

extensions = [
    "myst_parser",
    "reference_tables",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
source_suffix = {".md": "markdown"}
nitpicky = False
suppress_warnings = [
    "myst.header",  # pages for GitHub may begin a section below its parent
    "ref.python",  # short names in annotations, which several packages export
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # as GitHub makes them
exclude_patterns = ["schemas"]
smartquotes = False  # or else `--help` in a help text has a dash, and "stop" curly quotes

default_role = "py:obj"  # in docstrings: a link where the name is documented, else code
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = True
napoleon_use_ivar = True  # or else attributes are described twice

html_theme = "furo"
html_title = "Callsheet"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_copy_source = False
html_show_sphinx = False
