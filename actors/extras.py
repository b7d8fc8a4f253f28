"""The packages that only some programs need, by the extra that installs them."""

from typing import Literal

ExtraName = Literal["metrics", "otel", "plot", "tables", "valkey"]
"""An optional part of the installation; pyproject.toml has the packages of each."""


def how_to_install(extra: ExtraName) -> str:
    """Describe how to install what an optional part needs, for an error message.

    Args:
        extra: the name of the part in pyproject.toml.
    """
    return (
        f"install the extra {extra!r}: in the clone, run "
        f"uv sync --inexact --extra {extra}, or pip install '.[{extra}]'"
    )
