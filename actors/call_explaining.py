"""What a call would do, by the answers of the stages. Nothing is sent."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from ..runtime import Ref

# The messages of a stage are loaded with the stage.
from . import batching, cache, call_plan, prompt_cache, rate_limit, routing, stages
from .calls import CallContext
from .messages import Request
from .responses import Usage

if TYPE_CHECKING:
    from .call_plan import CallPlan
    from .prompt_cache import PromptCachePlan
    from .stages import StageName


@attrs.frozen(kw_only=True)
class CallExplainer:
    """Asks the stages of a troupe what a call would do; see `Troupe` for them.

    Args:
        inserted: the stages of `TroupeSettings.stages` before each stage, by its name.
        cache: the stage of the cache; None without one.
        batcher: the stage that combines requests.
        router: the stage that picks the route.
        prompt_cache: the stage of the prompt cache; None without one.
        limiter: the stage that delays calls.
    """

    inserted: "Mapping[StageName, tuple[Ref, ...]]"
    cache: Ref | None
    batcher: Ref
    router: Ref
    prompt_cache: Ref | None
    limiter: Ref

    async def explain(self, request: Request, lane: str) -> "CallPlan":
        """Estimate the route, cost and duration of a call.

        Args:
            request: the request that the call would send.
            lane: the lane in which the call would wait.

        Raises:
            CallFailed: a stage of the program refuses the request.
        """
        context = CallContext("explain", lane=lane)
        at = await stages.requests_at(self.inserted, request, context)
        limits = await stages.ask_or(
            self.limiter,
            rate_limit.Explain(at["limiter"], lane),
            stages.limits_without_limiter(at["limiter"]),
        )
        # The limiter learns from every call, the router only from those with a deadline.
        usage = Usage(int(limits.cost.input_tokens), int(limits.cost.output_tokens))
        choice = await stages.ask_or(
            self.router,
            routing.ExplainRoute(at["router"], usage),
            stages.choice_without_router(usage),
        )
        sharing = await stages.ask_or(
            self.batcher,
            batching.ExplainBatching(at["batcher"], lane),
            call_plan.SharedCall(),
        )
        is_cached = self.cache is not None and await stages.ask_or(
            self.cache, cache.PeekCache(at["cache"]), default=False
        )
        caching: PromptCachePlan | None = None
        if self.prompt_cache is not None:
            asked = prompt_cache.ExplainPromptCache(at["prompt_cache"], lane)
            caching = await stages.ask_or(self.prompt_cache, asked, None)
        return call_plan.plan_call(choice, limits, sharing, caching, is_cached=is_cached)
