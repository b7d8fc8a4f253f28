"""What the stage of the prompt cache reports of itself, and of a call that would come now."""

from decimal import Decimal

import attrs

from ...runtime import Message
from ..messages import Request
from .warmth import Warmth


@attrs.frozen(kw_only=True)
class PromptCacheStatistics:
    """The counts of a `PromptCacheActor` since it started.

    Args:
        planned: calls whose prompts are long enough to be cached.
        leading: those that wrote a beginning, while the provider had none of theirs in its cache.
        warm: those that were sent while the provider had a beginning of them in its cache.
        followed: those that waited for the response to another call to begin.
        late: those of them that were sent before the response they waited for had begun.
        waiting: calls that wait now.
        longest_wait_s: the longest wait of a call in seconds, while its leader waited for the
            limiter included.
    """

    planned: int
    leading: int
    warm: int
    followed: int
    late: int
    waiting: int
    longest_wait_s: float


@attrs.frozen
class GetPromptCacheStatistics(Message[PromptCacheStatistics]):
    """Ask a `PromptCacheActor` for its `PromptCacheStatistics`."""


@attrs.frozen(kw_only=True)
class PromptCachePlan:
    """What a call would do with the provider's prompt cache if it came now.

    Args:
        state: "warm" if the provider has a beginning of the prompt in its cache; "warming" if
            another call is writing it, whose first token this call would wait for; "cold" if it
            would write it itself, or if nothing is cached.
        tokens: the tokens of that beginning, by estimate; 0 if nothing is cached.
        saving_usd: what the cache would save, in USD; negative if writing costs more than other
            input. `CallPlan.cost_usd` is less by that.
        marks: how many marks would be added to the request.
        key: the key that would be added to the request; "" for none.
        why: why nothing would be cached; "" if something would.
    """

    state: Warmth = "cold"
    tokens: int = 0
    saving_usd: Decimal = Decimal(0)
    marks: int = 0
    key: str = ""
    why: str = ""


@attrs.frozen
class ExplainPromptCache(Message[PromptCachePlan]):
    """Ask what a call would do with the prompt cache. Nothing is sent.

    Args:
        request: the request that would arrive.
        lane: the lane in which the call would wait.
    """

    request: Request
    lane: str = ""
