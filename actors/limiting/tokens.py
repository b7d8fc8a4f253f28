"""Counts tokens exactly, where that can be done without asking anybody."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["Counter", "offline_counter"]

Counter = Callable[[str], int]
"""The number of tokens of a text."""


def offline_counter(model: str) -> Counter | None:
    """What counts a model's tokens: tiktoken, if it is installed and has the data on this machine.

    Nothing is ever fetched: while the data is looked for, tiktoken cannot open a URL.

    Args:
        model: as the provider names it.
    """
    if find_spec("tiktoken") is None:
        return None
    # Any: it may be absent, also when types are checked.
    tiktoken: Any = import_module("tiktoken")
    load: Any = import_module("tiktoken.load")
    fetch = load.read_file
    load.read_file = _refuse
    try:
        encoding = tiktoken.encoding_for_model(model)
    except Exception:  # noqa: BLE001  # an unknown model, no data, or another tiktoken: do without
        return None
    finally:
        load.read_file = fetch

    def count(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    return count


def _refuse(path: str) -> bytes:
    raise OSError(f"{path!r:.200} is not on this machine")
