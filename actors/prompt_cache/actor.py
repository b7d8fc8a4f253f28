"""The stage of the prompt cache: lets calls that share a beginning follow the first of them."""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from functools import partial
from math import inf
from typing import Any

import attrs
import trio

from callsheet.runtime import get_logger

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, Timer, defers, handles
from ..calls import Complete, Stream
from ..messages import Request
from ..responses import Response, Usage
from ..vendors import Endpoint, PriceBook
from .leads import SentCall
from .planning import CachePlanner, PromptCaching
from .sent_keys import SentKeys
from .statistics import (
    ExplainPromptCache,
    GetPromptCacheStatistics,
    PromptCachePlan,
    PromptCacheStatistics,
)
from .use import CacheCall, PlannedUse
from .warmth import WarmBeginnings

_log = get_logger("callsheet.prompt_cache")


@attrs.frozen
class _SendReady(Message[None]):
    """Calls that have waited can be sent."""


@attrs.frozen
class _WaitOver(Message[None]):
    """A call has waited long enough."""


class PromptCacheActor(Actor):
    """Sends the first of the calls that share a beginning ahead, and the others at its first token.

    Providers can read a beginning of a prompt from their caches only once a first response to it
    has begun. Calls that are sent before pay for all of it. So the first call leads, and the others
    wait here until its response begins: after the leader was sent, no longer than 15 seconds and
    no longer than a quarter of the time until their deadlines. Then the first of them leads
    instead. A call that has waited for leaders for 45 seconds, or for half of the time until its
    deadline, is sent whatever they do. Calls whose prompts are too short, or where nothing would be
    saved, are forwarded at once. The end of a call's patience counts as its deadline, if it is
    earlier.

    With "auto", it also adds marks and keys to requests of which the user has marked nothing (L15).

    A restart forgets what is warm, and the calls that wait fail as they do at the limiter.

    Args:
        to: the next stage, the limiter.
        endpoint: the endpoint that calls are sent to first; not a pool.
        prices: the prices there, which decide whether a mark pays.
        caching: "order" or "auto".
    """

    def __init__(
        self, to: Ref, endpoint: Endpoint, prices: PriceBook, caching: PromptCaching = "order"
    ) -> None:
        self._to = to
        self._endpoint = endpoint
        self._label = endpoint.label
        self._planner = CachePlanner(endpoint, prices, caching)
        self._beginnings: WarmBeginnings[CacheCall] = WarmBeginnings()
        self._sent_keys = SentKeys()
        self._ready: deque[tuple[CacheCall, PlannedUse]] = deque()
        self._uses: set[PlannedUse] = set()  # of calls that are not over
        self._timer: Timer | None = None
        self._is_draining = self._is_over = False
        self._planned = self._leading = self._warm = self._followed = self._late = 0
        self._longest_wait_s = 0.0

    @defers(Complete)
    async def complete(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Forward a call, or let it wait for another one that shares its beginning."""
        await self._take(message, slot)

    @defers(Stream)
    async def stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Forward a streamed call, or let it wait as any other."""
        await self._take(message, slot)

    @handles(_SendReady)
    async def send_ready(self, message: _SendReady) -> None:  # noqa: ARG002  # it has no fields
        """Send the calls whose wait is over."""
        await self._send_ready()

    @handles(_WaitOver)
    async def wait_over(self, message: _WaitOver) -> None:  # noqa: ARG002  # it has no fields
        """Send the calls that have waited long enough."""
        self._timer = None
        sent = self._beginnings.expire(trio.current_time())
        self._late += len(sent)
        self._prepare(sent)
        self._set_timer()
        await self._send_ready()

    @handles(GetPromptCacheStatistics, urgent=True)
    async def statistics(self, message: GetPromptCacheStatistics) -> PromptCacheStatistics:  # noqa: ARG002  # it has no fields
        """Return the counts."""
        return PromptCacheStatistics(
            planned=self._planned,
            leading=self._leading,
            warm=self._warm,
            followed=self._followed,
            late=self._late,
            waiting=len(self._beginnings),
            longest_wait_s=self._longest_wait_s,
        )

    @handles(ExplainPromptCache, urgent=True)
    async def explain(self, message: ExplainPromptCache) -> PromptCachePlan:
        """Return what a call would do with the prompt cache."""
        return self._explained(message.request, message.lane)

    async def draining(self) -> None:
        """Send all calls that wait."""
        self._is_draining = True
        self._prepare(self._beginnings.release(trio.current_time()))
        await self._send_ready()

    async def stopped(self) -> None:
        """Take no further reports: the calls that waited have failed."""
        self._is_over = True
        for use in self._uses:
            use.listener = None

    # ---------------------------------------------------------------- calls

    async def _take(self, message: Complete | Stream, slot: ReplySlot[Any]) -> None:
        now, context = trio.current_time(), message.context
        plan = None
        if context.allows("prompt_cache"):
            plan = self._planner.plan(message.request, context.lane, now)
        if plan is None:
            await slot.forward(self._to, message)
            return
        self._planner.note(plan, now)
        self._planned += 1
        call = CacheCall(message, slot, plan, now)
        sent = self._beginnings.arrive(
            call,
            plan.wish,
            now,
            deadline=min(slot.deadline, message.context.turn_by(now)),
            may_wait=not self._is_draining,
        )
        if sent is not None:
            self._prepare([sent])
            await self._send_ready()
            return
        self._followed += 1
        slot.on_settled(partial(self._left, call))
        self._set_timer()

    def _prepare(self, sent: Iterable[SentCall[CacheCall]]) -> None:
        """Note calls that are to be sent, in their order."""
        now = trio.current_time()
        for one in sent:
            call = one.call
            self._longest_wait_s = max(self._longest_wait_s, now - call.came_at)
            self._leading += one.lead is not None and not one.is_warm
            self._warm += one.is_warm
            use = PlannedUse(
                call=one,
                endpoint=self._label,
                model=self._endpoint.request_there(call.message.request).model,
                listener=self,
            )
            self._uses.add(use)
            self._ready.append((call, use))
            call.slot.on_settled(partial(self._call_settled, use))

    async def _send_ready(self) -> None:
        while self._ready:
            call, use = self._ready.popleft()
            await call.slot.forward(self._to, call.message.planned(use))

    def _left(self, call: CacheCall, _: ReplySlot[Any]) -> None:
        """Forget a call that waited and has been cancelled or has expired."""
        self._beginnings.leave(call)

    def _call_settled(self, use: PlannedUse, slot: ReplySlot[Any]) -> None:
        """Let the followers of a call go on that has ended before its response began."""
        self._uses.discard(use)
        if (lead := use.lead) is not None and not self._is_over:
            has_failed = slot.outcome not in (Outcome.CANCELLED, Outcome.EXPIRED)
            self._release(self._beginnings.lost(lead, trio.current_time(), has_failed=has_failed))

    def _release(self, sent: list[SentCall[CacheCall]]) -> None:
        """Send calls that have waited, from a task that must not wait."""
        if sent:
            if not self._ready:
                self.send_at(trio.current_time(), _SendReady())
            self._prepare(sent)
        self._set_timer()

    def _set_timer(self) -> None:
        due_at = self._beginnings.due_at
        if self._timer is not None:
            if self._timer.when <= due_at:
                return
            self._timer.cancel()
        self._timer = self.send_at(due_at, _WaitOver()) if due_at < inf else None

    # ---------------------------------------------------------------- reports

    def sent(self, use: PlannedUse) -> None:
        """Let the followers of a call wait from now on no longer than its first token may take."""
        if (lead := use.lead) is not None:
            self._release(self._beginnings.sent(lead, trio.current_time()))

    def held_back(self, use: PlannedUse) -> None:
        """Let the followers of a call wait as long as the provider's limit holds it back."""
        if (lead := use.lead) is not None:
            self._beginnings.held_back(lead, trio.current_time())
            self._set_timer()

    def began(self, use: PlannedUse) -> None:
        """Let the followers of a call go: what it has written can be read."""
        if use.plan.terms.readable == "begun":
            self._can_be_read(use)

    def ended(self, use: PlannedUse, usage: Usage | None) -> None:
        """Learn from the usage of a call, and let its followers go if they still wait."""
        self._can_be_read(use)
        if usage is not None:
            is_marked = use.plan.has_marks and not (use.is_unmarked or use.is_plain)
            self._planner.learn(
                use.plan,
                usage,
                trio.current_time(),
                is_warm=use.call.is_warm,
                is_marked=is_marked,
            )

    def moved(self, use: PlannedUse) -> None:
        """Let the first follower of a call lead: the call itself goes to another endpoint."""
        if (lead := use.lead) is not None:
            self._release(self._beginnings.lost(lead, trio.current_time()))

    def refused(self, use: PlannedUse, reason: str) -> None:
        """Add no marks and keys for a model any more whose provider refuses them."""
        if self._planner.refused(use.plan.model):
            _log.warning(
                "prompt_cache_marks_refused",
                endpoint=self._label,
                model=use.model,
                reason=reason,
            )

    def key_for(self, use: PlannedUse) -> str:
        """Choose the key of a call that is sent now; if it is another one, the next call leads."""
        plan, now = use.plan, trio.current_time()
        if not plan.key:
            return ""
        key, wish = self._sent_keys.choose(plan, self._beginnings.warm_tokens, now)
        if key != plan.key:
            self._beginnings.read(wish, now)
            if not use.call.is_warm:
                self._leading -= use.call.lead is not None
                self._warm += 1
            if (lead := use.lead) is not None:
                self._release(self._beginnings.lost(lead, now, has_failed=False))
        return key

    def refuses(self, use: PlannedUse) -> bool:
        """Return whether the provider is known to refuse what the plan of a call would add."""
        return self._planner.refuses(use.plan.model)

    def _can_be_read(self, use: PlannedUse) -> None:
        if (lead := use.lead) is not None:
            self._release(self._beginnings.began(lead, trio.current_time()))

    # ---------------------------------------------------------------- questions

    def _explained(self, request: Request, lane: str) -> PromptCachePlan:
        now = trio.current_time()
        why = self._planner.why_not(request, now)
        plan = None if why else self._planner.plan(request, lane, now)
        if plan is None:
            return PromptCachePlan(why=why or "the prompt is shorter than what is cached")
        if not plan.wish.readable:
            return PromptCachePlan(why="the request has no mark, and none pays or is allowed yet")
        state, beginning = self._beginnings.warmth(plan.wish, now)
        usd, prices = plan.prices.usd, plan.prices
        if beginning is None:
            tokens = max((one.tokens for one in plan.wish.written), default=0)
            saved = usd * tokens * Decimal(str(1 - prices.write))
        else:
            tokens = beginning.tokens
            saved = usd * tokens * Decimal(str(1 - prices.read))
        return PromptCachePlan(
            state=state, tokens=tokens, saving_usd=saved, marks=len(plan.marks), key=plan.key
        )
