"""Call a model and the tools that it requests, in turns, until it answers (L1, L10).

Each round is a call of its own, with its retries and hedges below. The tools run between the
rounds, so that no retry and no hedge runs a tool twice.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Generic, final

import attrs
import trio

from ..runtime import AskTimedOut
from .asking import seconds_for
from .calls import CallContext
from .chat_message import ChatMessage
from .errors import CallFailed
from .events import CallEvent, Observer, Stage, ignore, stages_of
from .messages import Request
from .money import AMOUNT, is_amount
from .responses import Response, ResultT_co, ToolCall, Usage, sum_of_costs
from .tools import ToolResult, run_call

_MORE_TO_SAY = "pause_turn"  # Anthropic's: the provider's own tools need another round
_ROUNDING_S = 1e-6  # of the deadline of a round, which is that of the run
_MAX_KEY = 240  # of the 255 characters that a key may have
_CUT_OFF = frozenset({"length", "content_filter"})  # the last call may be incomplete


@attrs.frozen(kw_only=True)
class ToolRun(Generic[ResultT_co]):
    """The responses of a model and the results of the tools that it called.

    Args:
        rounds: the response of each round, in order. The last one is the answer.
        results: the results of all calls of tools, in the order of the calls.
        messages: the whole chat: that of the request, then the turns of the model and the results.
    """

    rounds: tuple[Response[ResultT_co], ...]
    results: tuple[ToolResult, ...] = ()
    messages: tuple[ChatMessage, ...] = attrs.field(default=(), repr=False)

    @property
    def response(self) -> Response[ResultT_co]:
        """The last response. The run that an error carries may have none: IndexError."""
        return self.rounds[-1]

    @property
    def text(self) -> str:
        """The text of the last response."""
        return self.response.text

    @property
    def parsed(self) -> ResultT_co:
        """The result in the last response; see `Response`."""
        return self.response.parsed

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Calls in the last response that were not run; see `Troupe.run_tools`."""
        return self.response.tool_calls

    @property
    def usage(self) -> Usage:
        """The tokens of all rounds."""
        return sum((response.usage for response in self.rounds), start=Usage())

    @property
    def cost_usd(self) -> Decimal | None:
        """The cost of all rounds in USD; None if that of one of them is not known."""
        return sum_of_costs(*(response.cost_usd for response in self.rounds))

    @property
    def http_requests(self) -> int:
        """The HTTP requests of all rounds."""
        return sum(response.http_requests for response in self.rounds)

    @property
    def maybe_billed(self) -> int:
        """The `maybe_billed` of all rounds; see `Response`."""
        return sum(response.maybe_billed for response in self.rounds)


class ToolRunStopped(CallFailed):
    """A run of tools was stopped by one of its bounds.

    Args:
        message: the bound and the remedy.
        run: the rounds and results so far.
    """

    def __init__(self, message: str, run: ToolRun[object]) -> None:
        super().__init__(
            message,
            attempts=run.http_requests,
            billed="maybe" if run.maybe_billed else "no",
        )
        self.maybe_billed = run.maybe_billed
        self.usage, self.cost_usd = run.usage, run.cost_usd
        self.run = run


class ToolRoundsExceeded(ToolRunStopped):
    """The model requests more calls of tools after `max_rounds` rounds. They were not run."""


class ToolCostExceeded(ToolRunStopped):
    """The next round would exceed `max_cost_usd`, or its cost is not known. It was not sent."""


class ToolRunTimedOut(ToolRunStopped):
    """There was no answer in time. What ran was cancelled (R4)."""


@final
class ToolLoop(Generic[ResultT_co]):
    """The rounds of one run.

    Args:
        request: the request of the first round.
        complete: makes the call of a round, given its request and its number from 1.
        estimate: estimates the cost of a call in USD; None if the price is not known.
        max_rounds: the most rounds.
        max_cost_usd: the most USD for all rounds, not as a float; None for no bound.
        max_parallel: the most tools that run at the same time.
        timeout: seconds for the whole run.
        context: the ids of the run, for events.
        observer: receives an event when a tool starts, and one when it ends.

    Raises:
        ValueError, TypeError: a bound is out of its range, or the request is no chat or has several
            choices.
    """

    def __init__(
        self,
        request: Request[ResultT_co],
        complete: Callable[[Request[ResultT_co], int], Awaitable[Response[ResultT_co]]],
        estimate: Callable[[Request[ResultT_co]], Awaitable[Decimal | None]],
        *,
        max_rounds: int,
        max_cost_usd: Decimal | str | int | None,
        max_parallel: int,
        timeout: float,
        context: CallContext | None = None,
        observer: Observer = ignore,
    ) -> None:
        for name, value in (("max_rounds", max_rounds), ("max_parallel", max_parallel)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if request.task != "chat" or request.n > 1:
            raise ValueError("only a chat with one choice can call tools")
        self._request = request
        self._complete = complete
        self._estimate = estimate
        self._max_rounds = max_rounds
        self._max_cost_usd = _usd(max_cost_usd)
        self._limiter = trio.CapacityLimiter(max_parallel)
        self._ends_at = trio.current_time() + seconds_for(request, timeout)
        self._tools = {tool.name: tool for tool in request.tools}
        self._rounds: list[Response[ResultT_co]] = []
        self._results: list[ToolResult] = []
        self._messages = list(request.messages)
        self._context = context or CallContext("")
        self._observer = observer
        self._observed = stages_of(observer)

    async def run(self) -> ToolRun[ResultT_co]:
        """Return the rounds, of which the last one has the answer.

        Raises:
            ToolRunStopped: a bound was reached; the subclass states which.
            CallFailed: a round failed; its `cost_usd` has the rounds before, too.
        """
        late: AskTimedOut | None = None
        failed: CallFailed | None = None
        try:
            with trio.CancelScope(deadline=self._ends_at):
                return await self._run()
        except AskTimedOut as error:
            if self._ends_at - trio.current_time() > _ROUNDING_S:
                raise
            late = error
        except CallFailed as error:
            if not self._rounds or isinstance(error, ToolRunStopped):
                raise
            failed = error
        if failed is not None:
            done = self._done()
            failed = failed.after(
                done.usage,
                done.cost_usd,
                attempts=done.http_requests,
                maybe_billed=done.maybe_billed,
            )
            failed.add_note(f"The run of tools had {self._so_far} before.")
            raise failed
        raise ToolRunTimedOut(f"no answer in time, after {self._so_far}", self._done()) from late

    async def _run(self) -> ToolRun[ResultT_co]:
        for number in range(1, self._max_rounds + 1):
            request = self._next_request(number)
            await self._check_cost(request)
            response = await self._complete(request, number)
            self._rounds.append(response)
            turn = ChatMessage.from_response(response)
            self._messages.append(turn)
            calls = turn.tool_calls
            if response.finish_reason == _MORE_TO_SAY and not calls:
                continue
            if self._is_last(response, calls):
                return self._done()
            if number < self._max_rounds:
                await self._run_tools(calls)
        raise ToolRoundsExceeded(
            f"after {self._so_far} the model requests more calls of tools; raise max_rounds",
            self._done(),
        )

    def _next_request(self, number: int) -> Request[ResultT_co]:
        """Return the request of a round: all that was said, and the time that is left."""
        request = self._request
        if number == 1:
            return request
        left_s = self._ends_at - trio.current_time()
        key, choice = request.idempotency_key, request.tool_choice
        # Whichever tool the first round had to call, a later one is free to answer.
        is_forced = choice not in (None, "auto", "none")
        return attrs.evolve(
            request,
            messages=tuple(self._messages),
            tool_choice=None if is_forced else choice,
            deadline=None if request.deadline is None else max(left_s, _ROUNDING_S),
            idempotency_key=_key_of_round(key, number),
        )

    async def _check_cost(self, request: Request[ResultT_co]) -> None:
        most, spent = self._max_cost_usd, self._spent_at_most()
        if most is None:
            return
        if spent is None:
            raise ToolCostExceeded(
                f"the cost of round {len(self._rounds)} is not known, so max_cost_usd cannot be "
                "kept; leave it out, or use a provider that reports its tokens and known prices",
                self._done(),
            )
        next_usd = await self._estimate(request)
        if next_usd is None:
            raise ToolCostExceeded(
                f"the price of {request.model} is not known, so max_cost_usd cannot be kept; "
                "leave it out, or add the price",
                self._done(),
            )
        if spent + next_usd > most:
            raise ToolCostExceeded(
                f"after {self._so_far} the next round would cost about {next_usd:.6f} USD; "
                f"max_cost_usd is {most}",
                self._done(),
            )

    def _spent_at_most(self) -> Decimal | None:
        """Return what the rounds cost, with attempts that may have been billed as well (L13)."""
        total = Decimal(0)
        for response in self._rounds:
            if response.cost_usd is None:
                return None
            total += response.cost_usd * (1 + response.maybe_billed)
        return total

    def _is_last(self, response: Response[ResultT_co], calls: Sequence[ToolCall]) -> bool:
        """Return whether a response ends the run: it has no calls, or some that cannot be run."""
        if not calls or response.finish_reason in _CUT_OFF:
            return True
        are_elsewhere = "tools" in self._request.extra_body
        return any(
            are_elsewhere if tool is None else tool.function is None
            for tool in (self._tools.get(call.name) for call in calls)
        )

    async def _run_tools(self, calls: Sequence[ToolCall]) -> None:
        """Run the tools side by side, and add their results in the order of the calls."""
        found: dict[int, ToolResult] = {}
        known = ", ".join(self._tools)

        async def run(number: int, call: ToolCall) -> None:
            async with self._limiter:
                found[number] = await self._run_tool(call, known)

        if len(calls) == 1:
            await run(0, calls[0])  # without a nursery, which would wrap a KeyboardInterrupt
        else:
            async with trio.open_nursery() as nursery:
                for number, call in enumerate(calls):
                    nursery.start_soon(run, number, call)
        results = [found[number] for number in range(len(calls))]
        self._results += results
        self._messages += [ChatMessage.tool_result(one.call, one.text) for one in results]

    async def _run_tool(self, call: ToolCall, known: str) -> ToolResult:
        """Run a tool, and report its start and its end in the same task."""
        tool = self._tools.get(call.name)
        if "tool_started" not in self._observed and "tool_ended" not in self._observed:
            return await run_call(tool, call, known=known)
        context = attrs.evolve(self._context)  # an object of its own, which its events share
        result: ToolResult | None = None
        self._report("tool_started", context, call)
        try:
            result = await run_call(tool, call, known=known)
        finally:
            self._report("tool_ended", context, call, result)
        return result

    def _report(
        self, stage: Stage, context: CallContext, call: ToolCall, result: ToolResult | None = None
    ) -> None:
        if stage not in self._observed:
            return
        error = None if result is None else result.error
        self._observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                context=context,
                model=self._request.model,
                error=None if error is None else str(error),
                failure=error,
                is_cancelled=stage == "tool_ended" and result is None,
                tool=call,
            )
        )

    @property
    def _so_far(self) -> str:
        done = self._done()
        cost = "an unknown cost" if done.cost_usd is None else f"{done.cost_usd:.6f} USD"
        return f"{len(done.rounds)} rounds and {len(done.results)} results for {cost}"

    def _done(self) -> ToolRun[ResultT_co]:
        return ToolRun(
            rounds=tuple(self._rounds),
            results=tuple(self._results),
            messages=tuple(self._messages),
        )


def _key_of_round(key: str, number: int) -> str:
    """Return an idempotency key for a round, which is another call; "" if the request has none."""
    if len(key) > _MAX_KEY:
        key = hashlib.blake2b(key.encode(), digest_size=32).hexdigest()
    return f"{key}-round-{number}" if key else ""


def _usd(value: Decimal | str | int | None) -> Decimal | None:
    """Return a bound as an exact amount; it is given as that of a `Budget`."""
    if value is None:
        return None
    if isinstance(value, float):
        raise TypeError(f"max_cost_usd must be exact: {str(value)!r} rather than {value!r}")
    try:
        usd = Decimal(value)
    except ArithmeticError:
        raise ValueError(f"max_cost_usd must be a number, not {value!r:.40}") from None
    if not usd.is_finite() or usd <= 0:
        raise ValueError(f"max_cost_usd must be US dollars, above 0, not {value!s:.40}")
    if not is_amount(usd):
        raise ValueError(f"max_cost_usd must be US dollars, {AMOUNT}, not {value!s:.40}")
    return usd
