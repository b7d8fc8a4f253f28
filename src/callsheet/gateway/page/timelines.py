"""One recorded call: its events, kept small, and its timeline, put together when it is read.

A call takes about a kilobyte. Nothing of its request or response is kept, unless the settings say
so. Pure (R14).
"""

from collections.abc import Sequence
from typing import Literal, final

import attrs

from ...actors import CallContext, CallEvent, CallStage, Request, Response, shown
from ...trace.timeline import CallPhase, CallRecord

_MAX_TEXT = 2000  # characters of a prompt or a response that are shown
_MAX_KEPT = 4 * _MAX_TEXT  # a secret at the cut is whole, and so is found

MAX_EVENTS = 100
"""The events of one call that are kept, besides its last one."""

RecordedState = Literal["open", "answered", "shared", "failed", "cancelled"]
"""How a call has ended: with a response of its own, with that of another call, and so on."""


_Event = tuple[CallStage, float, int, str | None]  # stage, time, attempt, error


@attrs.frozen(kw_only=True)
class PhaseReading:
    """A part of a call's time.

    Args:
        state: "waiting" between two stages, "queued" for its turn, "in flight", or "retrying": the
            pause before the next attempt.
        start_s: its start, in seconds since the call was asked for.
        seconds: how long it took.
        attempt: the number of the HTTP request, from 1; 0 without one.
        error: why the attempt failed; null if it did not.
    """

    state: str
    start_s: float
    seconds: float
    attempt: int = 0
    error: str | None = None


@attrs.frozen(kw_only=True)
class CallSummary:
    """One call in a list.

    Args:
        call: the id of the call.
        endpoint: the name of the troupe that made it.
        lane: the lane in which it waited.
        tenant: who pays for it.
        model: the model that was requested.
        state: how it has ended.
        ended_s: seconds since its end; 0 while it is open.
        seconds: from its start to its end.
        queued_s: seconds that it waited for its turn.
        flight_s: seconds that its HTTP requests took.
        attempts: the HTTP requests that were sent for it.
        route: the route of its response, such as "live" or "cache"; "" without one.
        input_tokens: tokens of the prompt; null if they are not known.
        output_tokens: tokens that were generated; null if they are not known.
        cost_usd: its cost in USD, with all digits; null if it is not known.
        error: the message of its last error; null without one.
    """

    call: str
    endpoint: str
    lane: str
    tenant: str
    model: str
    state: RecordedState
    ended_s: float
    seconds: float
    queued_s: float
    flight_s: float
    attempts: int
    route: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: str | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class CallTimeline:
    """One call and the parts of its time.

    Args:
        summary: the call as in a list.
        first_byte_s: seconds from the sending of its last HTTP request to the first byte of the
            body; null if it is not known.
        phases: the parts of its time, in order.
        left_out: how many events are missing, because there were too many.
        prompt: the latest message of the chat, or the text to continue, without secrets; null if
            texts are not shown.
        response: the text of the response, without secrets; null if texts are not shown.
    """

    summary: CallSummary
    first_byte_s: float | None
    phases: Sequence[PhaseReading]
    left_out: int = 0
    prompt: str | None = None
    response: str | None = None


@final
@attrs.define(eq=False)
class RecordedCall:
    """The events of one call.

    Args:
        context: the ids of the call. While it is kept, no other call has the id of this object.
        endpoint: the name of the troupe.
        model: the requested model.
        asked_at: when it was asked for, in seconds on Trio's clock.
        ended_at: when it ended, in seconds on Trio's clock; None while it is open.
        state: how it has ended.
    """

    context: CallContext
    endpoint: str
    model: str
    asked_at: float
    ended_at: float | None = None
    state: RecordedState = "open"
    _events: list[_Event] = attrs.field(factory=list[_Event], init=False)
    _left_out: int = attrs.field(default=0, init=False)
    _route: str = attrs.field(default="", init=False)
    _tokens: tuple[int, int] | None = attrs.field(default=None, init=False)
    _cost_usd: str | None = attrs.field(default=None, init=False)
    _first_byte_s: float | None = attrs.field(default=None, init=False)
    _prompt: str | None = attrs.field(default=None, init=False, repr=False)
    _response: str | None = attrs.field(default=None, init=False, repr=False)
    _summary: CallSummary | None = attrs.field(default=None, init=False)

    @property
    def seconds(self) -> float:
        """Seconds from the start of the call to its end; 0 while it is open."""
        return 0.0 if self.ended_at is None else self.ended_at - self.asked_at

    def keep_prompt(self, request: Request) -> None:
        """Keep the text of the request.

        Args:
            request: what the client asked for.
        """
        texts = [message.content for message in request.messages[-1:]] or request.inputs
        self._prompt = next(iter(texts), "")[:_MAX_KEPT]

    def keep_response(self, response: Response) -> None:
        """Keep the text of the response.

        Args:
            response: what the client got.
        """
        self._response = response.text[:_MAX_KEPT]

    def add(self, event: CallEvent) -> None:
        """Record an event between the beginning and the end.

        Args:
            event: the event of this call.
        """
        if len(self._events) < MAX_EVENTS:
            self._events.append((event.stage, event.at, event.attempt, event.error))
        else:
            self._left_out += 1

    def end(self, event: CallEvent, state: RecordedState) -> None:
        """Record the last event.

        Args:
            event: the event of this call.
            state: how it has ended.
        """
        self._events.append((event.stage, event.at, event.attempt, event.error))
        self.ended_at, self.state = event.at, state
        response, usage = event.response, event.usage
        if response is not None:
            self._route, self._first_byte_s = response.route, response.first_byte_s
        if usage is not None:
            self._tokens = usage.input_tokens, usage.output_tokens
            self._cost_usd = None if event.cost_usd is None else str(event.cost_usd)

    def summary(self, now: float) -> CallSummary:
        """Return the call as in a list.

        Args:
            now: the current time, in seconds on Trio's clock.
        """
        if self._summary is not None and self.ended_at is not None:
            return attrs.evolve(self._summary, ended_s=now - self.ended_at)
        record = self._record()
        tokens = self._tokens or (None, None)
        made = CallSummary(
            call=shown(self.context.call),
            endpoint=self.endpoint,
            lane=shown(self.context.lane),
            tenant=shown(self.context.payer),
            model=shown(self.model),
            state=self.state,
            ended_s=0.0 if self.ended_at is None else now - self.ended_at,
            seconds=record.seconds(now),
            queued_s=record.spent("queued", now),
            flight_s=record.spent("in flight", now),
            attempts=len(record.attempts),
            route=self._route,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cost_usd=self._cost_usd,
            error=None if record.error is None else shown(record.error),
        )
        if self.ended_at is not None:
            self._summary = made
        return made

    def timeline(self, now: float) -> CallTimeline:
        """Return the call and the parts of its time.

        Args:
            now: the current time, in seconds on Trio's clock.
        """
        return CallTimeline(
            summary=self.summary(now),
            first_byte_s=self._first_byte_s,
            phases=[self._phase(phase, now) for phase in self._record().phases],
            left_out=self._left_out,
            prompt=None if self._prompt is None else shown(self._prompt, _MAX_TEXT),
            response=None if self._response is None else shown(self._response, _MAX_TEXT),
        )

    def _record(self) -> CallRecord:
        """Return the record of these events, as the trace of a run makes it."""
        event = CallEvent(stage="asked", at=self.asked_at, context=self.context, model=self.model)
        record = CallRecord.of(event)
        for stage, at, attempt, error in self._events:
            event = CallEvent(
                stage=stage,
                at=at,
                context=self.context,
                model=self.model,
                attempt=attempt,
                error=error,
            )
            record = record.after(event)
        return record

    def _phase(self, phase: CallPhase, now: float) -> PhaseReading:
        return PhaseReading(
            state=phase.state,
            start_s=phase.start - self.asked_at,
            seconds=phase.seconds(now),
            attempt=phase.attempt,
            error=None if phase.error is None else shown(phase.error),
        )
