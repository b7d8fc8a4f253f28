"""The span tree, from the events of calls: post, step, call and attempt."""

from collections.abc import Callable
from time import time_ns
from typing import final

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from ..actors import CallEvent, CallStage, Request
from . import names
from .attributes import (
    context_attributes,
    error_type,
    operation_attributes,
    request_attributes,
    response_attributes,
    server_attributes,
    usage_attributes,
    valid_text,
)
from .content import input_content, output_content
from .names import ConventionNames
from .task_spans import TracedPosts, TracedTools, current_post
from .traced_calls import TracedCall, TracedCalls, TracedStep

Redact = Callable[[str], str]
"""Changes a text before it is recorded."""


@final
class CallSpans:
    """Makes the spans of calls from their events.

    A call has one span, however often it is sent; each HTTP request is a child of it. A combined
    call is a child of the first call that shares it, and is linked with all of them.

    Args:
        tracer: makes the spans.
        calls: the open calls, which the metrics read, too.
        of_version: the names of the version of the conventions that is used.
        redact: changes each text before it is recorded; None records no texts.
        now_ns: the current Unix time in nanoseconds.
    """

    def __init__(
        self,
        tracer: Tracer,
        calls: TracedCalls,
        of_version: ConventionNames,
        redact: Redact | None,
        now_ns: Callable[[], int] = time_ns,
    ) -> None:
        self._tracer = tracer
        self._calls = calls
        self._names = of_version
        self._redact = redact
        self._now_ns = now_ns
        posts, tools = TracedPosts(tracer), TracedTools(tracer, redact)
        self._handlers: dict[CallStage, Callable[[CallEvent], None]] = {
            "asked": self._asked,
            "sent": self._sent,
            "ended": self._attempt_ended,
            "retrying": self._retrying,
            "rerouted": self._rerouted,
            "joined": self._joined,
            "combined": self._combined,
            "split": self._split,
            "resumed": self._resumed,
            "composing": posts.begin,
            "composed": posts.end,
            "tool_started": tools.begin,
            "tool_ended": tools.end,
        }

    def observe(self, event: CallEvent) -> None:
        """Begin, change or end the spans that an event concerns.

        Args:
            event: an event of a call or a post, but for the last event of a call.
        """
        if (handler := self._handlers.get(event.stage)) is not None:
            handler(event)

    # ---------------------------------------------------------------- calls

    def _asked(self, event: CallEvent) -> None:
        if event.request is None:
            return
        post = current_post()
        step = None if post is None else post.step(event.context)
        self._begin(event, event.request, None if step is None else step.within, step=step)

    def _begin(
        self,
        event: CallEvent,
        request: Request,
        parent: otel_context.Context | None,
        *,
        step: TracedStep | None = None,
        links: list[Link] | None = None,
    ) -> TracedCall:
        operation = operation_attributes(request.task, request.model, event.destination)
        attributes = {**operation, **context_attributes(event.context)}
        if event.is_streamed:
            attributes[names.REQUEST_STREAM] = True
        span = self._tracer.start_span(
            f"{names.OPERATIONS[request.task]} {valid_text(request.model)}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links,
        )
        within = None
        if span.is_recording():
            span.set_attributes(request_attributes(request))
            within = set_span_in_context(span, parent)
        call = TracedCall(event, request, span, within, step)
        self._calls.add(call)
        return call

    def end(self, call: TracedCall, event: CallEvent) -> None:
        """End the span of a call.

        Args:
            call: the call that ends.
            event: its last event.
        """
        self._close(call, event)
        if call.step is not None:
            call.step.ended_ns = self._now_ns()

    def _close(self, call: TracedCall, event: CallEvent) -> None:
        lines = [call.attempts.pop(key) for key in list(call.attempts) if key[0] == "batch"]
        call.is_over = True
        self._calls.tidy(call)
        for line in lines:
            self._end_attempt(line, event)  # the line itself may go on
        span, response = call.span, event.response
        if span.is_recording():
            if response is not None:
                span.set_attributes(response_attributes(response, self._names))
                if call.asked.is_streamed and response.first_byte_s is not None:
                    span.set_attribute(names.TIME_TO_FIRST_CHUNK, response.first_byte_s)
            elif event.usage is not None:
                span.set_attributes(usage_attributes(event.usage, self._names))
            if event.cost_usd is not None:
                span.set_attribute(names.COST_USD, float(event.cost_usd))
            span.set_attribute(names.OUTCOME, _outcome(event))
            _set_error(span, event)
        span.end()

    # ---------------------------------------------------------------- attempts

    def _sent(self, event: CallEvent) -> None:
        call = self._calls.of(event)
        if call is None or call.within is None:
            return
        attributes: dict[str, AttributeValue] = {names.ROUTE: event.route}
        if event.destination is not None:
            attributes |= server_attributes(event.destination)
        if event.route == "batch":
            attributes[names.BATCH_ID] = event.batch
        else:
            attributes[names.HTTP_METHOD] = "POST"
            if event.attempt > 1:
                attributes[names.HTTP_RESEND_COUNT] = event.attempt - 1
        if self._redact is not None and event.request is not None and not call.is_over:
            call.span.set_attributes(input_content(event.request, self._redact))
        self._begin_attempt(call, event, "batch" if event.route == "batch" else "POST", attributes)

    def _resumed(self, event: CallEvent) -> None:
        call = self._calls.of(event)
        if call is not None and call.within is not None:
            attributes: dict[str, AttributeValue] = {
                names.ROUTE: "batch",
                names.BATCH_ID: event.batch,
                names.BATCH_RESUMED: True,
            }
            self._begin_attempt(call, event, "batch", attributes)

    def _begin_attempt(
        self, call: TracedCall, event: CallEvent, name: str, attributes: dict[str, AttributeValue]
    ) -> None:
        key = (event.route, event.attempt or 1)
        if (former := call.attempts.pop(key, None)) is not None:
            former.end()  # a line of a batch that is sent again
        call.attempts[key] = self._tracer.start_span(
            name, context=call.within, kind=SpanKind.CLIENT, attributes=attributes
        )

    def _attempt_ended(self, event: CallEvent) -> None:
        call = self._calls.of(event)
        if call is None:
            return
        call.piece_times = event.piece_times or call.piece_times
        span = call.attempts.pop((event.route, event.attempt), None)
        self._calls.tidy(call)
        if span is not None:
            if self._redact is not None and event.choices and not call.is_over:
                call.span.set_attributes(output_content(event.choices, self._redact))
            self._end_attempt(span, event)

    def _end_attempt(self, span: Span, event: CallEvent) -> None:
        if span.is_recording():
            if event.status is not None:
                span.set_attribute(names.HTTP_STATUS, event.status)
            _set_error(span, event)
        span.end()

    def _retrying(self, event: CallEvent) -> None:
        call = self._calls.of(event)
        if call is not None and call.span.is_recording():
            attributes: dict[str, AttributeValue] = {"callsheet.delay_s": event.delay or 0.0}
            if (error := error_type(event)) is not None:
                attributes[names.ERROR_TYPE] = error
            call.span.add_event("callsheet.retrying", attributes)

    def _rerouted(self, event: CallEvent) -> None:
        """The call is sent live; what is left of its line in a batch is not waited for."""
        call = self._calls.of(event)
        if call is None:
            return
        if (span := call.attempts.pop(("batch", 1), None)) is not None:
            span.end()
        if call.span.is_recording():
            reason = valid_text(event.error or "")
            call.span.add_event("callsheet.rerouted", {"callsheet.reason": reason})

    # ---------------------------------------------------------------- calls that share a call

    def _joined(self, event: CallEvent) -> None:
        call, leader = self._calls.of(event), self._calls.find(event.leader)
        if call is None or leader is None:
            return
        call.leader = leader
        leader.followers += 1
        call.span.add_link(leader.link.context)

    def _combined(self, event: CallEvent) -> None:
        found = [self._calls.find(context) for context in event.context.shared_by]
        members = [member for member in found if member is not None]
        first = next((one for one in members if one.span.is_recording()), None)
        if event.request is None or first is None:
            return
        links = [member.link for member in members]
        call = self._begin(event, event.request, first.within, links=links)
        for member in members:
            member.span.add_link(call.link.context)

    def _split(self, event: CallEvent) -> None:
        call = self._calls.of(event)
        if call is not None:
            self._close(call, event)


def _outcome(event: CallEvent) -> str:
    """Return how a call, which may be a combined one, has ended."""
    if event.stage != "split":
        return event.stage
    if event.is_cancelled:
        return "cancelled"
    return "answered" if event.failure is None else "failed"


def _set_error(span: Span, event: CallEvent) -> None:
    """Say why there is no response. What was given up has no error status."""
    error = error_type(event)
    if error is None:
        return
    span.set_attribute(names.ERROR_TYPE, error)
    if event.failure is not None:
        span.set_status(Status(StatusCode.ERROR, valid_text(event.error or "")))
