"""Prompt caches of providers: `PromptCacheActor` sends the first of similar calls ahead."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import PromptCacheActor
    from .marks import PromptPlace, is_marked, with_key, with_mark
    from .planning import PromptCaching
    from .saving import CacheForecast, ExpectedRead, ExpectedReads, beginning_share
    from .statistics import (
        ExplainPromptCache,
        GetPromptCacheStatistics,
        PromptCachePlan,
        PromptCacheStatistics,
    )
    from .terms import CacheTerms, cache_terms, has_prompt_cache
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="PromptCacheActor",
        marks="PromptPlace is_marked with_key with_mark",
        planning="PromptCaching",
        saving="CacheForecast ExpectedRead ExpectedReads beginning_share",
        statistics=(
            "ExplainPromptCache GetPromptCacheStatistics PromptCachePlan PromptCacheStatistics"
        ),
        terms="CacheTerms cache_terms has_prompt_cache",
    )

__all__ = [
    "CacheForecast",
    "CacheTerms",
    "ExpectedRead",
    "ExpectedReads",
    "ExplainPromptCache",
    "GetPromptCacheStatistics",
    "PromptCacheActor",
    "PromptCachePlan",
    "PromptCacheStatistics",
    "PromptCaching",
    "PromptPlace",
    "beginning_share",
    "cache_terms",
    "has_prompt_cache",
    "is_marked",
    "with_key",
    "with_mark",
]
