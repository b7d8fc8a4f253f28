"""Prompt caches of providers: the beginnings of prompts that they keep, and what that saves."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .marks import PromptPlace, is_marked, with_key, with_mark
    from .terms import CacheTerms, cache_terms
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        marks="PromptPlace is_marked with_key with_mark",
        terms="CacheTerms cache_terms",
    )

__all__ = ["CacheTerms", "PromptPlace", "cache_terms", "is_marked", "with_key", "with_mark"]
