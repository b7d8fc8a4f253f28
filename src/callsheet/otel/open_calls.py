"""The calls that have not ended, by the context that their events have."""

from typing import final

import attrs
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext

from ..actors import CallContext, CallEvent, Destination

AttemptKey = tuple[str, int]
"""The route of an attempt and its number: a line of a batch and a live attempt may both be 1."""


@final
@attrs.define(eq=False)
class OpenStep:
    """The span of a step of a post, which has one call or several.

    Args:
        span: the span, which ends with the post.
        within: the OpenTelemetry context with this span.
        ended_ns: when its latest call ended, in nanoseconds of Unix time; None before.
    """

    span: Span
    within: Context
    ended_ns: int | None = None


@final
@attrs.define(eq=False)
class OpenCall:
    """A call between its first and its last event.

    Args:
        context: the ids of the call. The reference keeps its identity from being used again.
        span: the span of the call.
        within: the OpenTelemetry context with this span.
        asked_at: when the call began, on Trio's clock.
        task: the task of the request.
        model: the requested model.
        destination: where the call is sent first; None if it is not known.
        is_streamed: whether the caller receives pieces.
        is_mixed: whether the request has images, sounds or files.
        step: the step of a post that it belongs to; None if it belongs to none.
        queued_at: when it began to wait at the limiter, on Trio's clock; None if it does not wait.
        attempts: the spans of its attempts that have not ended.
        leader: the call that it has joined; None if it has joined none.
        followers: calls that have joined it and have not ended.
        is_over: whether it has ended. Attempts may go on for its followers, or be cancelled later.
    """

    context: CallContext
    span: Span
    within: Context
    asked_at: float
    task: str
    model: str
    destination: Destination | None
    is_streamed: bool = False
    is_mixed: bool = False
    step: OpenStep | None = None
    queued_at: float | None = None
    attempts: dict[AttemptKey, Span] = attrs.field(factory=dict[AttemptKey, Span])
    leader: "OpenCall | None" = None
    followers: int = 0
    is_over: bool = False

    @property
    def span_context(self) -> SpanContext:
        """The ids of its span, for links."""
        return self.span.get_span_context()

    @property
    def is_traced(self) -> bool:
        """Whether its attempts get spans: its own span is recorded."""
        return self.span.is_recording() or self.is_over


@final
class OpenCalls:
    """The open calls. Two calls may have equal ids, so that a call is found by identity."""

    def __init__(self) -> None:
        self._calls: dict[int, OpenCall] = {}  # {id of the context: call}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: OpenCall) -> None:
        """Add a call.

        Args:
            call: a call that begins.
        """
        self._calls[id(call.context)] = call

    def of(self, event: CallEvent) -> OpenCall | None:
        """Return the call of an event; None if its beginning was not observed.

        Args:
            event: an event of the call.
        """
        return self._calls.get(id(event.context))

    def find(self, context: CallContext | None) -> OpenCall | None:
        """Return the call with a context; None if it is not open.

        Args:
            context: the context of the call's events; None for no call.
        """
        return self._calls.get(id(context))

    def tidy(self, call: OpenCall) -> None:
        """Forget a call once nothing of it can follow.

        Args:
            call: a call that has ended, or whose attempt or follower has.
        """
        if call.is_over and not call.attempts and not call.followers:
            self._calls.pop(id(call.context), None)
            if call.leader is not None:
                leader, call.leader = call.leader, None
                leader.followers -= 1
                self.tidy(leader)
