"""The templates of the HTML pages: the trace of a run, and the report of a bulk run.

Both extend `page.html.j2`, which has the head, the shared styles, the title and the figures.
"""

from functools import cache

import attrs
import jinja2

__all__ = ["PageFigure", "page_template"]


@attrs.frozen
class PageFigure:
    """One of the figures at the top of a page.

    Args:
        name: the name of the figure.
        value: the formatted value.
        note: a remark below the value; "" for none.
    """

    name: str
    value: str
    note: str = ""


@cache
def page_template(name: str) -> jinja2.Template:
    """Load the template of a page; values are escaped when it is rendered.

    Args:
        name: the file name in the folder `templates`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("callsheet"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
