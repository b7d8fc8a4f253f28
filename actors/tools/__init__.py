"""Tools that a model may call."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .running import ToolResult, run_call
    from .tool import Tool, ToolDialect, ToolLike, function_of, tools_of
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        running="ToolResult run_call",
        tool="Tool ToolDialect ToolLike function_of tools_of",
    )

__all__ = ["Tool", "ToolDialect", "ToolLike", "ToolResult", "function_of", "run_call", "tools_of"]
