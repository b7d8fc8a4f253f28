"""The templates of the pages that are written."""

from functools import cache

import jinja2

__all__ = [
    "page_template",
]


@cache
def page_template(name: str) -> jinja2.Template:
    """A page's template; what is put into it shows itself and does nothing else.

    Args:
        name: of the file in `templates`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("callsheet"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
