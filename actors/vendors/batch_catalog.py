"""The supported Batch APIs by name. The names are those of `Vendor.batches`."""

from collections.abc import Mapping
from types import MappingProxyType

from .batch_anthropic import ANTHROPIC_BATCHES
from .batch_dialect import BatchDialect
from .batch_gemini import GEMINI_BATCHES
from .batch_mistral import MISTRAL_BATCHES
from .batch_openai import GROQ_BATCHES, OPENAI_BATCHES, TOGETHER_BATCHES
from .batch_openrouter import OPENROUTER_BATCHES

_DIALECTS: tuple[BatchDialect, ...] = (
    OPENAI_BATCHES,
    TOGETHER_BATCHES,
    ANTHROPIC_BATCHES,
    GEMINI_BATCHES,
    GROQ_BATCHES,
    MISTRAL_BATCHES,
    OPENROUTER_BATCHES,
)

DIALECTS: Mapping[str, BatchDialect] = MappingProxyType({one.name: one for one in _DIALECTS})
"""The supported Batch APIs, by name."""


def dialect_named(name: str) -> BatchDialect:
    """Return the Batch API of that name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        known = ", ".join(DIALECTS)
        raise ValueError(f"unknown Batch API {name!r:.60}; known are {known}") from None
