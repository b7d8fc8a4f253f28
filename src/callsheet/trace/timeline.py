"""What happened to every call of a run, folded from the stream of its events.

Pure (R14): the trace and the display hand it each event and read it whenever they like.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal

import attrs

from ..actors import CallEvent, Stage, Usage

__all__ = [
    "CallPhase",
    "CallRecord",
    "CallState",
    "CallTotals",
    "PhaseState",
    "Timeline",
]


PhaseState = Literal["waiting", "queued", "in flight", "retrying"]
CallState = PhaseState | Literal["done", "shared", "failed", "cancelled"]

# {stage: the phase that begins with it}; "waiting" is the way between two actors
_BEGINS: dict[Stage, PhaseState] = {
    "asked": "waiting",
    "queued": "queued",
    "admitted": "waiting",
    "sent": "in flight",
    "retrying": "retrying",
}
_ENDS: dict[Stage, CallState] = {
    "answered": "done",
    "shared": "shared",
    "failed": "failed",
    "cancelled": "cancelled",
}
_TOGETHER_S = 0.01  # tasks of calls that become possible together start in any order
# The call of a step that makes several ends in the number it has among them.
_NUMBER = re.compile(r"\[(\d+)\]$")


@attrs.frozen
class CallPhase:
    """A stretch of a call's life.

    Args:
        state: what it did.
        start: in seconds on Trio's clock.
        end: likewise; None as long as it lasts.
        attempt: the HTTP attempt, from 1, while "in flight"; the failed one while "retrying".
        error: what an attempt that failed ended with; while "retrying", why there is another one.
    """

    state: PhaseState
    start: float
    end: float | None = None
    attempt: int = 0
    error: str | None = None

    def seconds(self, now: float) -> float:
        """How long it lasted, or has lasted so far."""
        return max(0.0, (now if self.end is None else self.end) - self.start)


@attrs.frozen(kw_only=True)
class CallRecord:
    """One call as it stands.

    Args:
        call: its id, unique in the run.
        post: the id of the post it belongs to, if any.
        step: the step of the post, if any.
        model: the model that answered, or else was asked for.
        phases: what it did one after the other; the first begins when it was asked for.
        state: what it does, or how it ended.
        finished_at: when it ended, in seconds on Trio's clock; None before that.
        usage: the tokens of the answer; None where there is none, or another call's.
        cost_usd: USD; None unless done and priced.
        error: what went wrong last.
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
        """The record of a call that is heard of for the first time."""
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
        """When it began, in seconds on Trio's clock."""
        return self.phases[0].start

    @property
    def number(self) -> int | None:
        """Which of its step's calls it is, from 1; None where the step makes one."""
        found = None if self.step is None else _NUMBER.search(self.call)
        return None if found is None else int(found[1])

    @property
    def label(self) -> str:
        """What to call it within its post: its step, and its number if it has one."""
        name = self.step or self.call
        return name if self.number is None else f"{name} {self.number}"

    @property
    def attempts(self) -> tuple[CallPhase, ...]:
        """Its HTTP requests."""
        return tuple(phase for phase in self.phases if phase.state == "in flight")

    def seconds(self, now: float) -> float:
        """From when it was asked for until it ended, or until now."""
        return max(0.0, (now if self.finished_at is None else self.finished_at) - self.asked_at)

    def spent(self, state: PhaseState, now: float) -> float:
        """Seconds spent in one kind of phase."""
        return sum(phase.seconds(now) for phase in self.phases if phase.state == state)

    def working(self, now: float) -> float:
        """Seconds of its last HTTP request: what it takes by itself, without waiting or retries.

        Of a call that is done, `Response.seconds` says the same.
        """
        return sum(attempt.seconds(now) for attempt in self.attempts[-1:])

    def after(self, event: CallEvent) -> "CallRecord":
        """The record after one more event; after its end, nothing changes it any more."""
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
        return attrs.evolve(
            self,
            model=event.model if answered else self.model,
            phases=phases,
            state=_ENDS[event.stage],
            finished_at=event.at,
            usage=event.usage if answered else None,
            cost_usd=event.cost_usd if answered else None,
            error=event.error,
        )

    def _closed(self, event: CallEvent) -> tuple[CallPhase, ...]:
        """The phases, the last of which ends with the event."""
        *before, last = self.phases
        error = event.error if last.state == "in flight" else last.error
        return (*before, attrs.evolve(last, end=max(last.start, event.at), error=error))


@attrs.frozen(kw_only=True)
class CallTotals:
    """What a number of calls took together.

    Args:
        calls: how many there were.
        ended: how many of them have ended.
        failed: how many ended without an answer of use.
        http_requests: HTTP requests sent.
        retries: how many of those were sent again.
        input_tokens: tokens of the prompts, as reported.
        output_tokens: tokens of the answers, as reported.
        cost_usd: USD; None when the price of an answered call is not known.
        sequential_s: seconds of the last HTTP request of each, laid end to end.
    """

    calls: int
    ended: int
    failed: int
    http_requests: int
    retries: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    sequential_s: float

    @classmethod
    def of(cls, calls: Iterable[CallRecord], now: float) -> "CallTotals":
        """Add up some calls as they stand at a time on Trio's clock."""
        calls = tuple(calls)
        usages = [call.usage for call in calls if call.usage is not None]
        costs = [call.cost_usd for call in calls if call.state == "done"]
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
            sequential_s=sum(call.working(now) for call in calls),
        )


class Timeline:
    """Every call of a run. Hand it the events in the order in which they happen.

    Attributes:
        started_at: when the first event happened, in seconds on Trio's clock; 0 before it.
        ended_at: when the last one did.
    """

    def __init__(self) -> None:
        self.started_at = 0.0
        self.ended_at = 0.0
        self._calls: dict[str, CallRecord] = {}  # {call: record}, in the order of their start
        self._posts: dict[str | None, list[str]] = {}  # {post: its calls}, likewise

    def __repr__(self) -> str:
        return f"<Timeline of {len(self._calls)} calls>"

    def observe(self, event: CallEvent) -> None:
        """Take in one event; an `Observer`."""
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
        """Every call, in the order of their start."""
        return tuple(self._calls.values())

    def call(self, call: str) -> CallRecord:
        """One call, by its id.

        Raises:
            KeyError: nothing was heard of it.
        """
        return self._calls[call]

    @property
    def posts(self) -> tuple[str | None, ...]:
        """The ids of all posts, in the order of their start; None where calls belong to none."""
        return tuple(self._posts)

    def of_post(self, post: str | None) -> tuple[CallRecord, ...]:
        """The calls of one post, in the order of their start; none if it is unknown.

        Those that start together stand in the order of their names, run after run.
        """
        calls = (self._calls[call] for call in self._posts.get(post, ()))
        return tuple(sorted(calls, key=_start))

    def by_post(self, order: Iterable[str]) -> Iterator[tuple[str | None, tuple[CallRecord, ...]]]:
        """Each post that has calls, with its calls.

        Args:
            order: ids of the posts that come first, in this order; the others follow as they began.
        """
        for post in dict.fromkeys([*order, *self._posts]):
            if post in self._posts:
                yield post, self.of_post(post)


def _start(call: CallRecord) -> tuple[float, str, int]:
    return round(call.asked_at / _TOGETHER_S), call.step or call.call, call.number or 0
