"""`CallRecorder` observes calls for the page: the recent, slowest and failed ones, and the traffic.

It keeps when each event of a call was, and what the call has cost, but no text of a request or of a
response, unless the settings ask for it. Its memory is bounded, however many calls there are.
Pure (R14).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappush, heappushpop, nlargest
from itertools import chain, count
from typing import Literal, final

import attrs

from ...actors import (
    CallEvent,
    CallRecords,
    CallStage,
    ErrorReading,
    Observer,
)
from .history import Traffic, TrafficReading
from .spend import CallSpend, PageSpend
from .timelines import CallSummary, CallTimeline, RecordedCall, RecordedState

RecordedList = Literal["recent", "failed", "slowest"]
"""The lists of calls that have ended."""

STAGES: frozenset[CallStage] = frozenset(
    {
        *("asked", "queued", "admitted", "sent", "retrying", "rerouted"),
        *("answered", "shared", "failed", "cancelled"),
    }
)
"""The events that are recorded."""

_MAX_OPEN = 20_000  # calls that have not ended; the oldest ones are counted, but have no timeline
_MAX_RECENT, _MAX_FAILED = 1000, 200
_MAX_SLOWEST = 20  # of each period
_PERIOD_S, _PERIODS = 600.0, 6  # the slowest calls are those of the last hour


@final
class CallRecorder:
    """Records the calls of one gateway, which has one troupe or several.

    Args:
        keeps_text: whether the prompts and responses of the recorded calls are kept, too.
    """

    def __init__(self, *, keeps_text: bool = False) -> None:
        self._keeps_text = keeps_text
        # {id of its context: the call}; a context lives as long as its call is here
        self._open: dict[int, RecordedCall] = {}
        self._recent: deque[RecordedCall] = deque(maxlen=_MAX_RECENT)
        self._failed: deque[RecordedCall] = deque(maxlen=_MAX_FAILED)
        self._slowest = _SlowestCalls()
        self._errors = CallRecords(has_ledger=True)
        self._traffic = Traffic()
        self._spend = CallSpend()

    def __repr__(self) -> str:
        return f"<CallRecorder of {len(self._open)} open calls, {len(self._recent)} recent ones>"

    def observer(self, endpoint: str) -> Observer:
        """Return the observer for one troupe.

        Args:
            endpoint: the name of the troupe, which its calls are shown with.
        """
        return _TroupeObserver(self, endpoint)

    def begin(self, call: RecordedCall, event: CallEvent) -> None:
        """Record the beginning of a call."""
        self._open[id(call.context)] = call
        if len(self._open) > _MAX_OPEN:
            del self._open[next(iter(self._open))]
        if self._keeps_text and event.request is not None:
            call.keep_prompt(event.request)

    def go_on(self, event: CallEvent) -> None:
        """Record what happens to a call between its beginning and its end."""
        call = self._open.get(id(event.context))
        if call is not None:
            call.add(event)
        if event.stage == "retrying":
            self._errors(event)
            self._traffic.at(event.at).retried += 1

    def end(self, event: CallEvent, state: RecordedState) -> None:
        """Record the end of a call."""
        call = self._open.pop(id(event.context), None)
        if call is not None:
            call.end(event, state)
            if self._keeps_text and event.response is not None:
                call.keep_response(event.response)
            self._keep(call)
        self._count(event)

    def _keep(self, call: RecordedCall) -> None:
        self._recent.append(call)
        if call.state == "failed":
            self._failed.append(call)
        self._slowest.add(call)

    def _count(self, event: CallEvent) -> None:
        """Count the end of a call, whether or not its events are kept."""
        slot, stage, usage = self._traffic.at(event.at), event.stage, event.usage
        if stage == "cancelled":
            slot.cancelled += 1
        elif stage == "failed":
            slot.failed += 1
            self._errors(event)
        else:
            slot.answered += 1
        if usage is not None and stage != "shared":  # the call that is shared has paid
            self._spend.add(event.context, event.model, usage, event.cost_usd)
            slot.tokens += usage.input_tokens + usage.output_tokens
            if event.cost_usd is not None:
                slot.usd += event.cost_usd

    # ------------------------------------------------------------------------------- readings

    def calls(self, which: RecordedList, most: int, now: float) -> Sequence[CallSummary]:
        """Return calls that have ended: the latest first, or the slowest of the last hour first.

        Args:
            which: the list to return.
            most: how many calls to return at most.
            now: the current time, in seconds on Trio's clock.
        """
        if which == "slowest":
            calls = self._slowest.calls(most, now)
        else:
            kept = self._failed if which == "failed" else self._recent
            calls = [kept[-1 - number] for number in range(min(most, len(kept)))]
        return [call.summary(now) for call in calls]

    def timeline(self, call: str, now: float) -> CallTimeline | None:
        """Return the timeline of a call, the latest one with this id; None if it is not kept.

        Args:
            call: the id of the call, whole or as it is shown.
            now: the current time, in seconds on Trio's clock.
        """
        whole = (one for one in self._all() if one.context.call == call)
        as_shown = (one for one in self._all() if one.summary(now).call == call)
        found = next(chain(whole, as_shown), None)
        return None if found is None else found.timeline(now)

    def errors(self, now: float) -> Sequence[ErrorReading]:
        """Return the errors of calls by kind, the latest first.

        Args:
            now: the current time, in seconds on Trio's clock.
        """
        return self._errors.errors(now)

    def traffic(self, now: float) -> TrafficReading:
        """Return what happened in the last hour.

        Args:
            now: the current time, in seconds on Trio's clock.
        """
        return self._traffic.reading(now)

    def spend(self) -> PageSpend:
        """Return what the calls have cost since the start."""
        return self._spend.reading()

    def _all(self) -> Iterator[RecordedCall]:
        yield from reversed(self._open.values())
        yield from reversed(self._recent)
        yield from reversed(self._failed)
        yield from self._slowest.kept()


@final
@attrs.define(eq=False)
class _TroupeObserver:
    """The observer of one troupe. Everything that it does takes time of each call."""

    stages = STAGES

    _recorder: CallRecorder
    _endpoint: str

    def __call__(self, event: CallEvent) -> None:
        stage = event.stage
        if stage == "asked":
            call = RecordedCall(event.context, self._endpoint, event.model, event.at)
            self._recorder.begin(call, event)
        elif stage == "answered" or stage == "shared" or stage == "failed" or stage == "cancelled":  # noqa: PLR1714  # a type checker knows these
            self._recorder.end(event, stage)
        else:
            self._recorder.go_on(event)


@final
class _SlowestCalls:
    """The slowest calls of the last hour, as those of each of its periods."""

    def __init__(self) -> None:
        # {number of the period: heap of (seconds, number, call)}, in the order of time
        self._periods: dict[int, list[tuple[float, int, RecordedCall]]] = {}
        self._numbers = count()

    def add(self, call: RecordedCall) -> None:
        period = int((call.ended_at or 0.0) // _PERIOD_S)
        heap = self._periods.get(period)
        if heap is None:
            heap = self._periods[period] = []
            if len(self._periods) > _PERIODS:
                del self._periods[next(iter(self._periods))]
        seconds = call.seconds
        if len(heap) < _MAX_SLOWEST:
            heappush(heap, (seconds, next(self._numbers), call))
        elif seconds > heap[0][0]:
            heappushpop(heap, (seconds, next(self._numbers), call))

    def calls(self, most: int, now: float) -> list[RecordedCall]:
        first = int(now // _PERIOD_S) - _PERIODS + 1
        found = (one for number, heap in self._periods.items() if number >= first for one in heap)
        return [call for _, _, call in nlargest(most, found)]

    def kept(self) -> Iterator[RecordedCall]:
        for heap in self._periods.values():
            for _, _, call in heap:
                yield call
