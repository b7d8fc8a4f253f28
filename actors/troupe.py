"""The actors of one provider, and what one asks them."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import final

import attrs

from ..runtime import Ref
from .asking import ResponseStream, ask_for, stream_for
from .batch_api import AcknowledgeResponses
from .batching import ExplainBatching
from .cache import PeekCache
from .call_plan import CallPlan, plan_call
from .calls import CallContext
from .compose import Compose, Post
from .events import Observer
from .ledger import CostStatistics, GetCosts
from .messages import Request, Response
from .rate_limit import ChangeLimits, Explain, GetLimiterStatistics, LimiterStatistics, Limits
from .request import GetRequestStatistics, RequestStatistics
from .routing import ExplainRoute

__all__ = ["Troupe"]


@final
@attrs.frozen(kw_only=True, eq=False)
class Troupe:
    """The actors that were cast; each can also be spoken to by its ref.

    Args:
        composer: takes `Compose`.
        cache: takes `Complete`, as all that follow; None if there is none.
        batcher: the next stage.
        ledger: keeps the books; None if there are none.
        router: the stage of those that can wait; of all, if there are books.
        batches: the Batch API's; None if it is not used.
        limiter: the next stage.
        requester: the last stage.
        observer: is told of everything that happens to a call.
    """

    composer: Ref
    cache: Ref | None
    batcher: Ref
    ledger: Ref | None
    router: Ref
    batches: Ref | None
    limiter: Ref
    requester: Ref
    observer: Observer = attrs.field(repr=False)
    _calls: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False, repr=False)

    @property
    def entrance(self) -> Ref:
        """Where calls come in."""
        return self.cache or self.batcher

    async def compose(
        self, topic: str, *, timeout: float = inf, post: str = "", lane: str = ""
    ) -> Post:
        """Write a post.

        Args:
            topic: what it is about.
            timeout: seconds for all of it, waiting and retries included (L1).
            post: an id that its calls carry in events and logs (L9); the topic if empty.
            lane: in which its calls wait for their turn; see `Limits.lanes`.

        Raises:
            ValueError: the topic is empty.
            StepFailed: a required step failed; it says which, and why.
            AskTimedOut: `timeout` was too short.
        """
        return await self.composer.ask(Compose(topic, post, lane), timeout=timeout)

    async def complete(
        self, request: Request, *, timeout: float = inf, call: str = "", lane: str = ""
    ) -> Response:
        """Make one call.

        Args:
            request: what to ask.
            timeout: seconds for all of it, waiting and retries included (L1).
            call: an id that it carries in events and logs (L9); a number if empty.
            lane: in which it waits for its turn: a tenant, a purpose; see `Limits.lanes`.

        Raises:
            CallFailed: there is no answer; the subclass says why.
            AskTimedOut: `timeout` was too short.
        """
        return await ask_for(
            self.entrance,
            request,
            self._origin(call, lane),
            observer=self.observer,
            timeout=timeout,
        )

    def stream(
        self,
        request: Request,
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        buffer: int = 64,
    ) -> AbstractAsyncContextManager[ResponseStream]:
        """Make one call, and see the answer being written; leaving the block closes it.

            async with troupe.stream(request) as items:
                async for item in items:
                    ...  # a Delta each, and at last the Response

        Args:
            request: what to ask.
            timeout: seconds for all of it, waiting and retries included (L1).
            call: an id that it carries in events and logs (L9); a number if empty.
            lane: in which it waits for its turn: a tenant, a purpose; see `Limits.lanes`.
            buffer: pieces that may wait for whoever reads; then the provider has to wait.

        Raises:
            CallFailed: there is no answer, or it broke off; iterating raises it.
            AskTimedOut: `timeout` was too short; iterating raises it.
        """
        return stream_for(
            self.entrance,
            request,
            self._origin(call, lane),
            observer=self.observer,
            timeout=timeout,
            buffer=buffer,
        )

    async def acknowledge(self, calls: Iterable[str]) -> None:
        """Say that answers are kept elsewhere, so that the Batch API's journal need not have them.

        See `BatchApiPolicy.is_held`. Without that, and of calls that were live, it says nothing.

        Args:
            calls: ids of calls that were answered.
        """
        if self.batches is not None:
            await self.batches.ask(AcknowledgeResponses(tuple(calls)))

    async def request_statistics(self) -> RequestStatistics:
        """What the request actor is doing: circuit breakers, hedges, retries, connections."""
        return await self.requester.ask(GetRequestStatistics())

    async def limit_statistics(self) -> LimiterStatistics:
        """What the limiter knows: every limit, who waits, how well tokens are estimated."""
        return await self.limiter.ask(GetLimiterStatistics())

    async def costs(self) -> CostStatistics:
        """What the books say: of calls, models, tenants, posts, days and routes.

        Raises:
            ValueError: there are none; see `TroupeSettings.ledger`.
        """
        if self.ledger is None:
            raise ValueError("no books are kept; give TroupeSettings(ledger=LedgerPolicy())")
        return await self.ledger.ask(GetCosts())

    async def explain(self, request: Request, *, lane: str = "") -> CallPlan:
        """How a call would be answered if it came now: which way, at what cost, by when.

        Nothing is sent, and nothing is kept of it.
        """
        limits = await self.limiter.ask(Explain(request, lane))
        choice = await self.router.ask(ExplainRoute(request))
        sharing = await self.batcher.ask(ExplainBatching(request, lane))
        is_cached = self.cache is not None and await self.cache.ask(PeekCache(request))
        return plan_call(choice, limits, sharing, is_cached=is_cached)

    async def change_limits(self, limits: Limits) -> None:
        """Go by other limits from now on; calls that wait are planned anew.

        More in flight than `TroupeSettings.max_in_flight` has no effect.
        """
        await self.limiter.ask(ChangeLimits(limits))

    def _origin(self, call: str, lane: str) -> CallContext:
        return CallContext(call or f"call-{next(self._calls)}", lane=lane)
