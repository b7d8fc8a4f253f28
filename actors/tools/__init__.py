"""Tools that a model may call."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .running import ToolResult as ToolResult
    from .running import run_call as run_call
    from .tool import Tool as Tool
    from .tool import ToolDialect as ToolDialect
    from .tool import ToolLike as ToolLike
    from .tool import function_of as function_of
    from .tool import tools_of as tools_of
