"""The troupe: the actors that make calls to one provider, behind plain methods."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Literal, final, overload

import attrs
import trio

from ..runtime import Ref, ReplySlot, Runtime

# The messages of a stage are loaded with the stage.
from . import (
    batch_api,
    batching,
    cache,
    call_explaining,
    compose,
    inspection,
    ledger,
    prompt_cache,
    rate_limit,
    request,
    tool_loop,
    typed,
)
from .asking import (
    ResponseStream,
    ask_for,
    check_request,
    stream_for,
    submit_for,
    submit_for_nowait,
)
from .calls import CallContext
from .events import Destination, Observer
from .messages import Request
from .responses import Response, ResultT_co, StreamPiece

if TYPE_CHECKING:
    from .batch_api import BatchApiStatistics
    from .batching import BatchingStatistics
    from .cache import CacheStatistics
    from .call_plan import CallPlan
    from .compose import Post
    from .inspection import CallRecords, Reading, TroupeReader
    from .ledger import Budget, CostStatistics
    from .prompt_cache import PromptCacheStatistics
    from .rate_limit import LaneShare, LaneShares, LimiterStatistics, Limits
    from .request import RequestStatistics
    from .stages import StageName
    from .tool_loop import ToolRun


@final
@attrs.frozen(kw_only=True, eq=False)
class Troupe:
    """The actors that make calls to one provider; `open_troupe` and `cast_troupe` make one.

    The methods send messages to the actors. A program may also send messages to an actor's ref.

    Args:
        composer: writes posts; takes `Compose`.
        cache: answers repeated calls; takes `Complete`, as every stage below does; None without
            `TroupeSettings.cache`.
        batcher: combines requests into shared calls.
        ledger: reserves and records costs; None without `TroupeSettings.ledger`.
        router: picks the route of each call with a deadline, and of every call if there is a
            ledger.
        batches: sends calls through the Batch API; None without `TroupeSettings.batches`.
        prompt_cache: lets calls that share a beginning follow the first of them; None with
            `TroupeSettings.prompt_caching="off"`, for a pool, and where no cache is known.
        limiter: delays calls that would exceed the limits.
        requester: sends the HTTP requests of each call.
        first_stage: the first stage of a call: one of your own, or the cache, or the batcher.
        inserted: the stages of `TroupeSettings.stages` before each stage, by its name.
        observer: called with a `CallEvent` at each stage of each call.
        destination: where a call is sent first, for these events.
        runtime: the runtime that the actors run in.
        records: what is recorded of calls for `reading`; None without `TroupeSettings.inspect`.
        max_in_flight: calls that may be in flight after any change of the limits; None for no
            bound.
    """

    composer: Ref
    cache: Ref | None
    batcher: Ref
    ledger: Ref | None
    router: Ref
    batches: Ref | None
    prompt_cache: Ref | None
    limiter: Ref
    requester: Ref
    first_stage: Ref
    inserted: "Mapping[StageName, tuple[Ref, ...]]"
    observer: Observer = attrs.field(repr=False)
    destination: Destination | None = attrs.field(default=None, repr=False)
    runtime: Runtime = attrs.field(repr=False)
    records: "CallRecords | None" = attrs.field(default=None, repr=False)
    max_in_flight: int | None = attrs.field(default=None, repr=False)
    _shares: "LaneShares" = attrs.field(
        default=attrs.Factory(lambda self: rate_limit.LaneShares(self.limiter), takes_self=True),
        init=False,
        repr=False,
    )
    _calls: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False, repr=False)

    @property
    def reader(self) -> "TroupeReader":
        """What asks the stages for their statistics, for `reading` and for metrics."""
        return inspection.TroupeReader(
            runtime=self.runtime,
            requester=self.requester,
            limiter=self.limiter,
            batcher=self.batcher,
            cache=self.cache,
            ledger=self.ledger,
            batches=self.batches,
            prompt_cache=self.prompt_cache,
            records=self.records,
        )

    async def compose(
        self, topic: str, *, timeout: float = inf, post: str = "", lane: str = ""
    ) -> "Post":
        """Write a post.

        Args:
            topic: the topic of the post.
            timeout: seconds for the whole post, waits and retries included (L1).
            post: the id of the post, which its calls carry in events and logs (L9); the topic if
                empty.
            lane: the lane in which its calls wait; see `Limits.lanes`.

        Raises:
            ValueError: the topic is empty.
            StepFailed: a required step failed; the message names the step and the reason.
            AskTimedOut: the post was not complete within `timeout`.
        """
        message = compose.Compose(topic, post, lane)
        return await compose.compose_for(
            self.composer, message, observer=self.observer, timeout=timeout
        )

    async def complete(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
    ) -> Response[ResultT_co]:
        """Make one call and wait for the complete response.

        Args:
            request: the request to send.
            timeout: seconds for the whole call, waits and retries included (L1).
            call: the id of the call in events and logs (L9); a running number if empty.
            lane: the lane in which the call waits, such as a tenant or a purpose; see
                `Limits.lanes`.
            context: the whole context of the call, such as its patience, instead of `call` and
                `lane`.

        Raises:
            CallFailed: the call failed; the subclass states why.
            ResultNotValid: the response does not match the class that `request.returns` names, nor
                does that to a second request.
            AskTimedOut: there was no response within `timeout`.
        """
        return await ask_for(
            self.first_stage,
            request,
            context or self._context(call, lane),
            observer=self.observer,
            destination=self.destination,
            timeout=timeout,
        )

    async def submit(
        self,
        request: Request,
        *,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
    ) -> ReplySlot[Response]:
        """Begin one call and return the slot of its response, without a task that waits for it.

        The slot's `on_settled` reports the end, and its `cancel` gives up on the call. This is the
        cheapest way to have thousands of calls in flight. It waits only for room in the mailbox of
        the first stage.

        Args:
            request: the request to send; its `deadline` limits the call.
            call: the id of the call in events and logs (L9); a running number if empty.
            lane: the lane in which the call waits; see `Limits.lanes`.
            context: the whole context of the call, instead of `call` and `lane`.

        Raises:
            ValueError: the request declares the class of its result, which `complete` reads.
            ActorStopped: the troupe accepts no calls any more.
        """
        check_request(request)
        _check_not_read(request)
        return await submit_for(
            self.first_stage,
            request,
            context or self._context(call, lane),
            observer=self.observer,
            destination=self.destination,
        )

    def submit_nowait(
        self,
        request: Request,
        *,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
    ) -> ReplySlot[Response]:
        """Begin one call as `submit` does, without waiting for room and without a checkpoint.

        Args:
            request: the request to send; its `deadline` limits the call.
            call: the id of the call in events and logs (L9); a running number if empty.
            lane: the lane in which the call waits; see `Limits.lanes`.
            context: the whole context of the call, instead of `call` and `lane`.

        Raises:
            ValueError: the request declares the class of its result, which `complete` reads.
            MailboxFull: the first stage has no room; its `when_room` reports when it has.
            ActorStopped: the troupe accepts no calls any more.
        """
        check_request(request)
        _check_not_read(request)
        return submit_for_nowait(
            self.first_stage,
            request,
            context or self._context(call, lane),
            observer=self.observer,
            destination=self.destination,
        )

    async def run_tools(
        self,
        request: Request[ResultT_co],
        *,
        max_rounds: int = 8,
        max_cost_usd: Decimal | str | int | None = None,
        max_parallel: int = 16,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
    ) -> "ToolRun[ResultT_co]":
        """Call a model and the tools that it requests, in turns, until it answers.

        The calls of a round run side by side. Unknown tools, invalid arguments and exceptions go to
        the model as results. The run ends with the first response that requests no call, or that is
        cut off, or that requests a call of a tool without a function; the program that receives it
        runs all its calls then. No retry and no hedge of a call runs a tool twice.

        Args:
            request: the request of the first round. A `tool_choice` that forces a call holds for
                this round only.
            max_rounds: the most calls of the model.
            max_cost_usd: the most USD for all rounds, as a Decimal, a text or an int. A round that
                would exceed it by its estimate is not sent. None for no bound.
            max_parallel: the most tools that run at the same time.
            timeout: seconds for the whole run, tools included (L1).
            call: the id of the run. Each round adds ".1", ".2" and so on for its own events and
                logs (L9). A running number if empty.
            lane: the lane in which the calls wait; see `Limits.lanes`.

        Raises:
            ToolRoundsExceeded: the model requests calls in its last round, too.
            ToolCostExceeded: the next round would cost too much.
            ToolRunTimedOut: there was no answer within `timeout` or the request's deadline.
            CallFailed: a round failed; the subclass states why.
            ValueError, TypeError: a bound is out of its range, or the request is no chat or has
                several choices.
        """
        check_request(request)
        context = self._context(call, lane)

        async def complete(request: Request[ResultT_co], number: int) -> Response[ResultT_co]:
            return await self.complete(request, call=f"{context.call}.{number}", lane=lane)

        async def estimate(request: Request[ResultT_co]) -> Decimal | None:
            return (await self.explain(request, lane=lane)).cost_usd

        loop = tool_loop.ToolLoop(
            request,
            complete,
            estimate,
            max_rounds=max_rounds,
            max_cost_usd=max_cost_usd,
            max_parallel=max_parallel,
            timeout=timeout,
            context=context,
            observer=self.observer,
        )
        return await loop.run()

    @overload
    def stream(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
        buffer: int = 64,
        events: Literal[False] = False,
    ) -> AbstractAsyncContextManager[ResponseStream[ResultT_co]]: ...

    @overload
    def stream(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
        buffer: int = 64,
        events: bool,
    ) -> AbstractAsyncContextManager[ResponseStream[ResultT_co, StreamPiece]]: ...

    def stream(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
        buffer: int = 64,
        events: bool = False,
    ) -> AbstractAsyncContextManager[ResponseStream[ResultT_co, StreamPiece]]:
        """Make one call and receive the response piece by piece. Leaving the block cancels it.

            async with troupe.stream(request) as items:
                async for item in items:
                    ...  # each Delta, and at the end the Response

        Args:
            request: the request to send.
            timeout: seconds for the whole call, waits and retries included (L1).
            call: the id of the call in events and logs (L9); a running number if empty.
            lane: the lane in which the call waits, such as a tenant or a purpose; see
                `Limits.lanes`.
            context: the whole context of the call, instead of `call` and `lane`.
            buffer: pieces that may wait to be read. When so many wait, the connection is not read.
            events: whether each piece is a `ProviderEvent`, with the text that the provider sent,
                where it streams the response. It is a `Delta` where it does not, where a stage of
                your own changes the pieces, and after an event that quotes the key.

        Raises:
            CallFailed: the call failed or the response broke off; iterating raises it.
            ResultNotValid: the response does not match the class that `request.returns` names, nor
                does that to a second request; iterating raises it at the end.
            AskTimedOut: the response was not complete within `timeout`; iterating raises it.
        """
        return stream_for(
            self.first_stage,
            request,
            context or self._context(call, lane),
            observer=self.observer,
            destination=self.destination,
            timeout=timeout,
            buffer=buffer,
            wants_events=events,
        )

    async def acknowledge(self, calls: Iterable[str]) -> None:
        """State that responses are stored elsewhere, so that the Batch API journal can drop them.

        It has an effect only with `BatchApiPolicy.is_acknowledged`, and only on responses that
        came from a batch.

        Args:
            calls: the ids of the calls whose responses are stored.
        """
        if self.batches is not None:
            await self.batches.ask(batch_api.AcknowledgeResponses(tuple(calls)))

    async def request_statistics(self) -> "RequestStatistics":
        """Return the state of circuit breakers, hedging, retries and connections."""
        return await self.requester.ask(request.GetRequestStatistics())

    async def limiter_statistics(self) -> "LimiterStatistics":
        """Return the state of each limit, the calls that wait, and the error of token estimates."""
        return await self.limiter.ask(rate_limit.GetLimiterStatistics())

    async def batching_statistics(self) -> "BatchingStatistics":
        """Return how many requests shared calls, and why each batch was sent."""
        return await self.batcher.ask(batching.GetBatchingStatistics())

    async def cache_statistics(self) -> "CacheStatistics":
        """Return the hits and misses of the cache, and what it contains.

        Raises:
            ValueError: there is no cache; see `TroupeSettings.cache`.
        """
        if self.cache is None:
            raise ValueError("there is no cache; set TroupeSettings(cache=CachePolicy())")
        return await self.cache.ask(cache.GetCacheStatistics())

    async def batch_api_statistics(self) -> "BatchApiStatistics":
        """Return the batches at the provider by phase, and the requests that wait for them.

        Raises:
            ValueError: there is no Batch API stage; see `TroupeSettings.batches`.
        """
        if self.batches is None:
            raise ValueError(
                "there is no Batch API stage; set TroupeSettings(batches=BatchApiPolicy())"
            )
        return await self.batches.ask(batch_api.GetBatchApiStatistics())

    async def prompt_cache_statistics(self) -> "PromptCacheStatistics":
        """Return how many calls have led, followed and read from the provider's prompt cache.

        Raises:
            ValueError: there is no such stage; see `TroupeSettings.prompt_caching`.
        """
        if self.prompt_cache is None:
            raise ValueError("prompt_caching is off, or no prompt cache of the endpoint is known")
        return await self.prompt_cache.ask(prompt_cache.GetPromptCacheStatistics())

    async def costs(self) -> "CostStatistics":
        """Return the costs recorded in the ledger: by model, lane, post, day and route.

        Raises:
            ValueError: there is no ledger; see `TroupeSettings.ledger`.
        """
        if self.ledger is None:
            raise ValueError("there is no ledger; set TroupeSettings(ledger=LedgerPolicy())")
        return await self.ledger.ask(ledger.GetCosts())

    async def reading(self) -> "Reading":
        """Return one reading of everything: actors, calls, limits, spend and errors.

        It does not wait for calls. A stage that does not reply within a second is in its `missing`.
        Errors, and the spend of a troupe without a ledger, are recorded only with
        `TroupeSettings.inspect`.
        """
        return await self.reader.read()

    async def explain(self, request: Request, *, lane: str = "") -> "CallPlan":
        """Estimate the route, cost and duration of a call without making it.

        Args:
            request: the request that the call would send.
            lane: the lane in which the call would wait.

        Raises:
            CallFailed: a stage of `TroupeSettings.stages` refuses the request.
        """
        check_request(request)
        explainer = call_explaining.CallExplainer(
            inserted=self.inserted,
            cache=self.cache,
            batcher=self.batcher,
            router=self.router,
            prompt_cache=self.prompt_cache,
            limiter=self.limiter,
        )
        return await explainer.explain(request, lane)

    async def share(self, model: str, *, lane: str = "") -> "LaneShare":
        """Return the part of the limits that a lane has, as it was a second ago at most.

        Args:
            model: the model of its calls.
            lane: the name of the lane.
        """
        return await self._shares.of(model, lane)

    async def change_limits(self, limits: "Limits") -> None:
        """Replace the limits. Calls that wait are scheduled again under the new ones.

        Args:
            limits: the new limits. A value of `in_flight` above `TroupeSettings.max_in_flight` has
                no further effect.
        """
        if self.max_in_flight is not None and limits.in_flight > self.max_in_flight:
            limits = attrs.evolve(limits, in_flight=self.max_in_flight)
        await self.limiter.ask(rate_limit.ChangeLimits(limits))

    async def change_budgets(self, budgets: "Sequence[Budget]") -> None:
        """Replace the budgets. What was spent so far counts against new ones, too.

        Args:
            budgets: the budgets from now on.

        Raises:
            ValueError: there is no ledger; see `TroupeSettings.ledger`.
        """
        if self.ledger is None:
            raise ValueError("there is no ledger; set TroupeSettings(ledger=LedgerPolicy())")
        await self.ledger.ask(ledger.ChangeBudgets(tuple(budgets)))

    def _context(self, call: str, lane: str) -> CallContext:
        return CallContext(
            call or f"call-{next(self._calls)}", lane=lane, asked_at=trio.current_time()
        )


def _check_not_read(request: Request) -> None:
    """Refuse a request whose caller expects a result."""
    if request.returns is not None and not typed.is_read_elsewhere(request.returns):
        raise ValueError("the result of a submitted call is not read; use `complete`")
