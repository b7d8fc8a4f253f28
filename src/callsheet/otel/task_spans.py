"""The spans that are the current ones of a task: those of posts, with their steps, and of tools.

The span of a post is current in the task that asks for the post, and so in the tasks that make its
calls, which inherit the context variables of that task. The span of a tool is current in the task
or the thread in which the function runs.
"""

from collections.abc import Callable
from contextvars import Token
from typing import final

import attrs
from opentelemetry import context as otel_context
from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from ..actors import CallContext, CallEvent
from . import names
from .attributes import error_type, valid_text
from .traced_calls import TracedStep

_POST = otel_context.create_key("callsheet-post")


@final
@attrs.define(eq=False)
class TracedPost:
    """The span of a post, and the spans of its steps.

    Args:
        context: the ids of the post. The reference keeps its identity from being used again.
        tracer: makes the spans of the steps.
        span: the span of the post.
        token: resets the current context at the end.
        within: the OpenTelemetry context with this span.
        steps: the steps that have begun, by name.
    """

    context: CallContext
    tracer: Tracer
    span: Span
    token: Token[otel_context.Context] | None = None
    within: otel_context.Context = attrs.field(factory=otel_context.Context)
    steps: dict[str, TracedStep] = attrs.field(factory=dict[str, TracedStep])

    def step(self, context: CallContext) -> TracedStep | None:
        """Return the step that a call belongs to, which begins with its first call.

        Args:
            context: the ids of a call; without a step it gets None.
        """
        name = context.step
        if name is None or not self.span.is_recording():
            return None
        step = self.steps.get(name)
        if step is None:
            attributes = {names.STEP: name, names.POST_ID: valid_text(context.post or "")}
            span = self.tracer.start_span(
                f"step {name}", context=self.within, attributes=attributes
            )
            step = self.steps[name] = TracedStep(span, set_span_in_context(span, self.within))
        return step


def current_post() -> TracedPost | None:
    """Return the post whose call is made in this task; None if it is no call of a post."""
    found = otel_context.get_value(_POST)
    return found if isinstance(found, TracedPost) else None


@final
class TracedPosts:
    """The posts that are composed.

    Args:
        tracer: makes their spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._posts: dict[int, TracedPost] = {}  # {id of the context: post}

    def begin(self, event: CallEvent) -> None:
        """Begin the span of a post, and make it the current one of this task.

        Args:
            event: "composing", reported in the task that asks for the post.
        """
        context = event.context
        attributes = {names.POST_ID: valid_text(context.post or "")}
        if context.lane:
            attributes[names.LANE] = valid_text(context.lane)
        span = self._tracer.start_span("compose post", attributes=attributes)
        post = self._posts[id(context)] = TracedPost(context, self._tracer, span)
        post.within = otel_context.set_value(_POST, post, set_span_in_context(span))
        post.token = otel_context.attach(post.within)

    def end(self, event: CallEvent) -> None:
        """End the spans of a post and of its steps.

        Args:
            event: "composed", reported in the same task.
        """
        post = self._posts.pop(id(event.context), None)
        if post is None:
            return
        if post.token is not None:
            otel_context.detach(post.token)
        for step in post.steps.values():
            step.span.end(step.ended_ns)
        if (error := error_type(event)) is not None:
            post.span.set_attribute(names.ERROR_TYPE, error)
        if event.failure is not None:
            post.span.set_status(Status(StatusCode.ERROR, valid_text(event.error or "")))
        post.span.end()


@final
@attrs.frozen(eq=False)
class TracedTool:
    """The span of a tool that runs.

    Args:
        context: the ids of the run. The reference keeps its identity from being used again.
        span: the span of the tool.
        token: resets the current context at the end.
    """

    context: CallContext
    span: Span
    token: Token[otel_context.Context]


@final
class TracedTools:
    """The tools that run.

    Args:
        tracer: makes their spans.
        redact: changes the arguments before they are recorded; None records none.
    """

    def __init__(self, tracer: Tracer, redact: Callable[[str], str] | None) -> None:
        self._tracer = tracer
        self._redact = redact
        self._tools: dict[int, TracedTool] = {}  # {id of the context: tool}

    def begin(self, event: CallEvent) -> None:
        """Begin the span of a tool, and make it the current one of this task.

        Args:
            event: "tool_started", reported in the task that runs the tool.
        """
        context, tool = event.context, event.tool
        if tool is None:
            return
        attributes: dict[str, AttributeValue] = {
            names.OPERATION: "execute_tool",
            names.TOOL_NAME: valid_text(tool.name),
            names.TOOL_CALL_ID: valid_text(tool.id),
            names.CALL_ID: valid_text(context.call),
        }
        if self._redact is not None:
            attributes[names.TOOL_ARGUMENTS] = valid_text(self._redact(tool.arguments))
        span = self._tracer.start_span(
            f"execute_tool {valid_text(tool.name)}", attributes=attributes
        )
        token = otel_context.attach(set_span_in_context(span))
        self._tools[id(context)] = TracedTool(context, span, token)

    def end(self, event: CallEvent) -> None:
        """End the span of a tool.

        Args:
            event: "tool_ended", reported in the same task.
        """
        tool = self._tools.pop(id(event.context), None)
        if tool is None:
            return
        otel_context.detach(tool.token)
        if (error := error_type(event)) is not None:
            tool.span.set_attribute(names.ERROR_TYPE, error)
        if event.failure is not None:
            tool.span.set_status(StatusCode.ERROR)
        tool.span.end()
