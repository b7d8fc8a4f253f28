"""Callsheet: a supervised actor runtime on Trio, and actors on it that make LLM API calls.

`callsheet.runtime` is the runtime, which has no knowledge of LLMs. `callsheet.actors` has the
actors. This package has the names that most programs need; each is loaded when it is first used, so
that a program that uses the runtime alone does not load the actors.
"""

import os
from importlib import import_module

from ._version import __version__

TYPE_CHECKING = False  # for type checkers it is true; `typing` takes 4 ms to load

# `actors` and `runtime` are symbolic links to the folders at the top of the repository. A clone
# without symbolic links (Windows' default) has text files in their place, so look at the top, too.
_HERE = __path__[0]
if not os.path.isdir(os.path.join(_HERE, "actors")):  # noqa: PTH112, PTH118  # pathlib takes 5 ms
    __path__.append(os.path.dirname(os.path.dirname(_HERE)))  # noqa: PTH120

if TYPE_CHECKING:
    from .actors import (
        CallContext,
        CallFailed,
        ChatMessage,
        Endpoint,
        Lane,
        Limits,
        Post,
        Rate,
        Recipe,
        Request,
        Response,
        ResultNotValid,
        RetryPolicy,
        Stage,
        StepFailed,
        Tool,
        Troupe,
        TroupeSettings,
        cast_troupe,
        insert,
        load_recipe,
        open_troupe,
        replace_text,
    )
    from .config import load_settings
    from .endpoints import open_builtin_provider, open_endpoint
    from .runtime import Actor, AskTimedOut, Message, Ref, ReplySlot, defers, handles, open_runtime
else:
    _NAMES = {
        "actors": "CallContext CallFailed ChatMessage Endpoint Lane Limits Post Rate Recipe Request"
        " Response ResultNotValid RetryPolicy Stage StepFailed Tool Troupe TroupeSettings"
        " cast_troupe insert load_recipe open_troupe replace_text",
        "config": "load_settings",
        "endpoints": "open_builtin_provider open_endpoint",
        "runtime": "Actor AskTimedOut Message Ref ReplySlot defers handles open_runtime",
    }
    _HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        """Load a name, or one of the two packages, when it is first used (PEP 562)."""
        if name in ("actors", "runtime"):
            return import_module(f".{name}", __name__)
        if name not in _HOME:
            raise import_module(".other_homes", __name__).no_name(name, __name__)
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value

    def __dir__() -> list[str]:
        """List the names that are loaded and those that can be."""
        return sorted({*globals(), *_HOME, "actors", "runtime"})


__all__ = [
    "Actor",
    "AskTimedOut",
    "CallContext",
    "CallFailed",
    "ChatMessage",
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
    "ResultNotValid",
    "RetryPolicy",
    "Stage",
    "StepFailed",
    "Tool",
    "Troupe",
    "TroupeSettings",
    "__version__",
    "cast_troupe",
    "defers",
    "handles",
    "insert",
    "load_recipe",
    "load_settings",
    "open_builtin_provider",
    "open_endpoint",
    "open_runtime",
    "open_troupe",
    "replace_text",
]
