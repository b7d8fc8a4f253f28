"""The Batch APIs that there are words for, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from .anthropic import ANTHROPIC_BATCHES
from .dialect import BatchDialect
from .openai import OPENAI_BATCHES, TOGETHER_BATCHES

__all__ = ["DIALECTS", "dialect_named"]

_ALL: tuple[BatchDialect, ...] = (OPENAI_BATCHES, TOGETHER_BATCHES, ANTHROPIC_BATCHES)

DIALECTS: Mapping[str, BatchDialect] = MappingProxyType({one.name: one for one in _ALL})
"""Those that Callsheet speaks, by name."""


def dialect_named(name: str) -> BatchDialect:
    """The dialect of that name.

    Raises:
        ValueError: there is none; lists those there are.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        known = ", ".join(DIALECTS)
        raise ValueError(f"there is no Batch API {name!r:.60}; known are {known}") from None
