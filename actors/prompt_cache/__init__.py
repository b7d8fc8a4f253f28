"""Prompt caches of providers: `PromptCacheActor` sends the first of similar calls ahead."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import PromptCacheActor as PromptCacheActor
    from .marks import PromptPlace as PromptPlace
    from .marks import is_marked as is_marked
    from .marks import with_key as with_key
    from .marks import with_mark as with_mark
    from .planning import PromptCaching as PromptCaching
    from .saving import CacheForecast as CacheForecast
    from .saving import ExpectedRead as ExpectedRead
    from .saving import ExpectedReads as ExpectedReads
    from .saving import beginning_share as beginning_share
    from .statistics import ExplainPromptCache as ExplainPromptCache
    from .statistics import GetPromptCacheStatistics as GetPromptCacheStatistics
    from .statistics import PromptCachePlan as PromptCachePlan
    from .statistics import PromptCacheStatistics as PromptCacheStatistics
    from .terms import CacheTerms as CacheTerms
    from .terms import cache_terms as cache_terms
    from .terms import has_prompt_cache as has_prompt_cache
