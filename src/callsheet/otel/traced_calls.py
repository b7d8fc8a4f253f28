"""The calls whose spans have not ended, by the context that their events have."""

from collections.abc import Mapping
from typing import final

import attrs
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span
from opentelemetry.util.types import AttributeValue

from ..actors import CallContext, CallEvent, Request
from .attributes import operation_attributes

AttemptKey = tuple[str, int]
"""The route of an attempt and its number: a line of a batch and a live attempt may both be 1."""


@final
@attrs.define(eq=False)
class TracedStep:
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
class TracedCall:
    """A call between its first and its last event.

    Args:
        asked: its first event. The reference keeps the identity of the context from being used
            again.
        request: the request of that event.
        span: the span of the call.
        within: the OpenTelemetry context with this span; None if the span is not recorded.
        step: the step of a post that it belongs to; None if it belongs to none.
        queued_at: when it began to wait at the limiter, on Trio's clock; None if it does not wait.
        attempts: the spans of its attempts that have not ended.
        piece_times: when each piece of its response was passed on, on Trio's clock.
        leader: the call that it has joined; None if it has joined none.
        followers: calls that have joined it and have not ended.
        is_over: whether it has ended. Attempts may go on for its followers, or be cancelled later.
    """

    asked: CallEvent
    request: Request
    span: Span
    within: Context | None
    step: TracedStep | None = None
    queued_at: float | None = None
    attempts: dict[AttemptKey, Span] = attrs.field(factory=dict[AttemptKey, Span])
    piece_times: tuple[float, ...] = ()
    leader: "TracedCall | None" = None
    followers: int = 0
    is_over: bool = False

    @property
    def operation(self) -> Mapping[str, AttributeValue]:
        """The attributes of spans and metrics; do not change them."""
        request = self.request
        return operation_attributes(request.task, request.model, self.asked.destination)

    @property
    def link(self) -> Link:
        """A link to its span."""
        return Link(self.span.get_span_context())


@final
class TracedCalls:
    """The open calls. Two calls may have equal ids, so that a call is found by identity."""

    def __init__(self) -> None:
        self._calls: dict[int, TracedCall] = {}  # {id of the context: call}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: TracedCall) -> None:
        """Add a call.

        Args:
            call: a call that begins.
        """
        self._calls[id(call.asked.context)] = call

    def of(self, event: CallEvent) -> TracedCall | None:
        """Return the call of an event; None if its beginning was not observed.

        Args:
            event: an event of the call.
        """
        return self._calls.get(id(event.context))

    def find(self, context: CallContext | None) -> TracedCall | None:
        """Return the call with a context; None if it is not open.

        Args:
            context: the context of the call's events; None for no call.
        """
        return self._calls.get(id(context))

    def tidy(self, call: TracedCall) -> None:
        """Forget a call once nothing of it can follow.

        Args:
            call: a call that has ended, or whose attempt or follower has.
        """
        if call.is_over and not call.attempts and not call.followers:
            self._calls.pop(id(call.asked.context), None)
            if call.leader is not None:
                leader, call.leader = call.leader, None
                leader.followers -= 1
                self.tidy(leader)
