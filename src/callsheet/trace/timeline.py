"""Record what happened to every call of a run, from the stream of call events.

Pure (R14): the trace and the display pass each event to a timeline, and read it at any time.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal

import attrs

from ..actors import CallEvent, Stage, Usage

PhaseState = Literal["waiting", "queued", "in flight", "retrying"]
CallState = PhaseState | Literal["done", "shared", "failed", "cancelled"]

# {stage: the phase that begins with it}; "waiting" is the time between two actors
_BEGINS: dict[Stage, PhaseState] = {
    "asked": "waiting",
    "queued": "queued",
    "admitted": "waiting",
    "sent": "in flight",
    "retrying": "retrying",
    "rerouted": "waiting",
}
_ENDS: dict[Stage, CallState] = {
    "answered": "done",
    "shared": "shared",
    "failed": "failed",
    "cancelled": "cancelled",
}
_TOGETHER_S = 0.01  # calls that become ready together start in an arbitrary order
# The id of a call ends in a number if its step makes several calls.
_NUMBER = re.compile(r"\[(\d+)\]$")


@attrs.frozen
class CallPhase:
    """A phase of a call.

    Args:
        state: the state of the call during the phase.
        start: the start, in seconds on Trio's clock.
        end: the end, in seconds on Trio's clock; None while the phase lasts.
        attempt: the HTTP attempt, counted from 1, while "in flight"; while "retrying", the attempt
            that failed.
        error: the error of a failed attempt; while "retrying", the reason of the retry.
    """

    state: PhaseState
    start: float
    end: float | None = None
    attempt: int = 0
    error: str | None = None

    def seconds(self, now: float) -> float:
        """Return the duration in seconds, up to `now` if the phase has not ended."""
        return max(0.0, (now if self.end is None else self.end) - self.start)


@attrs.frozen(kw_only=True)
class CallRecord:
    """The record of one call, up to the last event.

    Args:
        call: the call id, unique in the run.
        post: the id of the post that the call belongs to, if any.
        step: the name of the post's step, if any.
        model: the model that the response names; before that, the requested model.
        phases: the phases in order; the first starts when the call is made.
        state: the current state, or the final one.
        finished_at: the end of the call, in seconds on Trio's clock; None while it runs.
        usage: the tokens of the response; None without a response, or if it was shared. Those of a
            failed call are of responses that were paid for before it failed.
        cost_usd: the cost in USD of these tokens; None if the price is not known.
        error: the last error.
    """

    call: str
    post: str | None
    step: str | None
    model: str
    phases: tuple[CallPhase, ...]
    state: CallState = "waiting"
    finished_at: float | None = None
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    error: str | None = None

    @classmethod
    def of(cls, event: CallEvent) -> "CallRecord":
        """Make the record of a call from its first event."""
        context = event.context
        fresh = cls(
            call=context.call,
            post=context.post,
            step=context.step,
            model=event.model,
            phases=(CallPhase("waiting", event.at),),
        )
        return fresh if event.stage == "asked" else fresh.after(event)

    @property
    def asked_at(self) -> float:
        """The start of the call, in seconds on Trio's clock."""
        return self.phases[0].start

    @property
    def number(self) -> int | None:
        """The number of the call within its step, from 1; None if the step makes one call."""
        found = None if self.step is None else _NUMBER.search(self.call)
        return None if found is None else int(found[1])

    @property
    def label(self) -> str:
        """The display name within the post: the step, and the number if there is one."""
        name = self.step or self.call
        return name if self.number is None else f"{name} {self.number}"

    @property
    def attempts(self) -> tuple[CallPhase, ...]:
        """The HTTP attempts, as phases."""
        return tuple(phase for phase in self.phases if phase.state == "in flight")

    @property
    def is_paid(self) -> bool:
        """Whether a response was paid for: its own, or one before it failed."""
        return self.state == "done" or self.usage is not None

    def seconds(self, now: float) -> float:
        """Return the seconds from the start of the call to its end, or to `now`."""
        return max(0.0, (now if self.finished_at is None else self.finished_at) - self.asked_at)

    def spent(self, state: PhaseState, now: float) -> float:
        """Return the seconds that the call spent in a state, up to `now`."""
        return sum(phase.seconds(now) for phase in self.phases if phase.state == state)

    def working(self, now: float) -> float:
        """Return the seconds of the last HTTP attempt, without waiting and without retries.

        For a call that is done, this equals `Response.seconds`.
        """
        return sum(attempt.seconds(now) for attempt in self.attempts[-1:])

    def after(self, event: CallEvent) -> "CallRecord":
        """Return the record after one more event; a finished record does not change."""
        if self.finished_at is not None:
            return self
        phases = self._closed(event)
        begun = _BEGINS.get(event.stage)
        if begun is not None:
            phase = CallPhase(begun, event.at, attempt=event.attempt, error=event.error)
            return attrs.evolve(
                self,
                phases=(*phases, phase),
                state=begun,
                error=event.error or self.error,
            )
        answered = event.stage == "answered"
        is_paid = answered or event.stage == "failed"
        return attrs.evolve(
            self,
            model=event.model if answered else self.model,
            phases=phases,
            state=_ENDS[event.stage],
            finished_at=event.at,
            usage=event.usage if is_paid else None,
            cost_usd=event.cost_usd if is_paid else None,
            error=event.error,
        )

    def _closed(self, event: CallEvent) -> tuple[CallPhase, ...]:
        """Return the phases, with the last one ended by the event."""
        *before, last = self.phases
        error = event.error if last.state == "in flight" else last.error
        return (*before, attrs.evolve(last, end=max(last.start, event.at), error=error))


@attrs.frozen(kw_only=True)
class CallTotals:
    """The totals of several calls.

    Args:
        calls: the number of calls.
        ended: the number of calls that have ended.
        failed: the number of calls that failed.
        http_requests: the number of HTTP requests sent.
        retries: the number of HTTP requests that were retries.
        input_tokens: the tokens of the prompts, as reported.
        output_tokens: the tokens of the responses, as reported.
        cost_usd: the cost in USD; None if the cost of a completed call is not known.
        known_usd: the cost in USD of the completed calls whose cost is known.
        unknown_costs: the number of completed calls whose cost is not known.
        sequential_s: the sum of the seconds of each call's last HTTP request.
        cached_tokens: the tokens of the prompts that the provider read from its cache.
    """

    calls: int
    ended: int
    failed: int
    http_requests: int
    retries: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    known_usd: Decimal
    unknown_costs: int
    sequential_s: float
    cached_tokens: int = 0

    @classmethod
    def of(cls, calls: Iterable[CallRecord], now: float) -> "CallTotals":
        """Sum up calls.

        Args:
            calls: the calls to sum up.
            now: the time up to which running calls count, in seconds on Trio's clock.
        """
        calls = tuple(calls)
        usages = [call.usage for call in calls if call.usage is not None]
        costs = [call.cost_usd for call in calls if call.is_paid]
        requests = [len(call.attempts) for call in calls]
        known = [cost for cost in costs if cost is not None]
        return cls(
            calls=len(calls),
            ended=sum(call.finished_at is not None for call in calls),
            failed=sum(call.state == "failed" for call in calls),
            http_requests=sum(requests),
            retries=sum(sent - 1 for sent in requests if sent),
            input_tokens=sum(usage.input_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
            cost_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
            known_usd=sum(known, Decimal(0)),
            unknown_costs=len(costs) - len(known),
            sequential_s=sum(call.working(now) for call in calls),
            cached_tokens=sum(usage.cached_tokens for usage in usages),
        )


class Timeline:
    """The records of all calls of a run. Pass it the events in the order in which they happen.

    Attributes:
        started_at: the time of the first event, in seconds on Trio's clock; 0 before it.
        ended_at: the time of the last event, in seconds on Trio's clock.
    """

    def __init__(self) -> None:
        self.started_at = 0.0
        self.ended_at = 0.0
        self._calls: dict[str, CallRecord] = {}  # {call id: record}, in the order of their start
        self._posts: dict[str | None, list[str]] = {}  # {post id: call ids}, in the same order

    def __repr__(self) -> str:
        return f"<Timeline of {len(self._calls)} calls>"

    def observe(self, event: CallEvent) -> None:
        """Record one event; this method is an `Observer`. Details add nothing to a record."""
        if event.stage not in _BEGINS and event.stage not in _ENDS:
            return
        if not self._calls:
            self.started_at = self.ended_at = event.at
        self.ended_at = max(self.ended_at, event.at)
        call = event.context.call
        known = self._calls.get(call)
        if known is None:
            self._calls[call] = CallRecord.of(event)
            self._posts.setdefault(event.context.post, []).append(call)
        else:
            self._calls[call] = known.after(event)

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """All calls, in the order of their start."""
        return tuple(self._calls.values())

    def call(self, call: str) -> CallRecord:
        """Return the record of a call.

        Args:
            call: the call id.

        Raises:
            KeyError: the timeline has no event of the call.
        """
        return self._calls[call]

    @property
    def posts(self) -> tuple[str | None, ...]:
        """The ids of all posts, in the order of their start; None for calls without a post."""
        return tuple(self._posts)

    def of_post(self, post: str | None) -> tuple[CallRecord, ...]:
        """Return the calls of one post, in the order of their start; () if the post is unknown.

        Calls that start together are sorted by name, so that every run gives the same order.
        """
        calls = (self._calls[call] for call in self._posts.get(post, ()))
        return tuple(sorted(calls, key=_start))

    def by_post(self, order: Iterable[str]) -> Iterator[tuple[str | None, tuple[CallRecord, ...]]]:
        """Yield each post that has calls, with its calls.

        Args:
            order: the ids of the posts that come first, in this order; the others follow in the
                order of their start.
        """
        for post in dict.fromkeys([*order, *self._posts]):
            if post in self._posts:
                yield post, self.of_post(post)


def _start(call: CallRecord) -> tuple[float, str, int]:
    return round(call.asked_at / _TOGETHER_S), call.step or call.call, call.number or 0
