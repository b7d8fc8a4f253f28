"""Callsheet: a supervised actor runtime on Trio, and a troupe of actors for LLM API work.

`callsheet.runtime` is the runtime, which knows nothing of LLMs; `callsheet.actors` are the actors.
The names most programs need are here.
"""

from pathlib import Path

# `actors` and `runtime` are symbolic links to the folders at the top of the repository. A clone
# without symbolic links (Windows' default) has text files in their place, so look at the top, too.
_HERE = Path(__path__[0])
if not (_HERE / "actors").is_dir():
    __path__.append(str(_HERE.parent.parent))

from ._version import __version__
from .actors import (
    CallFailed,
    Endpoint,
    Lane,
    Limits,
    Post,
    Rate,
    Recipe,
    Request,
    Response,
    RetryPolicy,
    StepFailed,
    Troupe,
    TroupeSettings,
    cast_troupe,
    load_recipe,
    open_troupe,
)
from .endpoints import open_builtin_provider, open_endpoint
from .runtime import Actor, AskTimedOut, Message, Ref, ReplySlot, defers, handles, open_runtime

__all__ = [
    "Actor",
    "AskTimedOut",
    "CallFailed",
    "Endpoint",
    "Lane",
    "Limits",
    "Message",
    "Post",
    "Rate",
    "Recipe",
    "Ref",
    "ReplySlot",
    "Request",
    "Response",
    "RetryPolicy",
    "StepFailed",
    "Troupe",
    "TroupeSettings",
    "__version__",
    "cast_troupe",
    "defers",
    "handles",
    "load_recipe",
    "open_builtin_provider",
    "open_endpoint",
    "open_runtime",
    "open_troupe",
]
