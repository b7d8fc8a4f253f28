"""Tools that a model may call."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .tool import Tool
else:
    __getattr__, __dir__ = lazy_names(__name__, tool="Tool")

__all__ = ["Tool"]
