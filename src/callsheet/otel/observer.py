"""The observer that traces calls and records their metrics with OpenTelemetry."""

import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from traceback import format_exception
from typing import Final, final, get_args

from opentelemetry import metrics, trace

from ..actors import CallEvent, CallStage
from ..runtime import get_logger
from .content import hide_keys
from .metrics import CallMetrics
from .names import NAMES, WAITED_S, Naming
from .spans import CallSpans
from .traced_calls import TracedCalls

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON_SPANS = ("span_only", "span_and_event", "true")
_ENDS: Final = ("answered", "shared", "failed", "cancelled")
_SHORT_S = 0.001  # the way through the limiter
_STAGES: frozenset[CallStage] = frozenset(get_args(CallStage))
_log = get_logger("callsheet.otel")


@final
class OpenTelemetry:
    """Traces calls and records their metrics. It is an observer of a troupe.

        settings = TroupeSettings(endpoint=endpoint, observer=OpenTelemetry())

    A call is a span under the current span of its caller, in whatever thread or event loop that
    is. One object may observe several troupes. An error of the providers, or of what they call,
    ends no call: the first one is logged, and what each should have recorded is missing.

    Args:
        tracer_provider: makes the tracer; None for the global one.
        meter_provider: makes the meter; None for the global one.
        content: whether spans have the texts of requests and responses, as they are sent and
            received. None decides by OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, which is
            off if it is not set.
        redact: changes each text before it is recorded; by default, what looks like a key is
            replaced. Of a text with which it fails, nothing is recorded.
        names: the version of the GenAI conventions whose names are used: "latest", or "1.41" for
            dashboards that were made for the names before.

    Attributes:
        stages: the stages whose events it needs.

    Raises:
        ValueError: the version is not known.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        content: bool | None = None,
        redact: Callable[[str], str] = hide_keys,
        names: Naming = "latest",
    ) -> None:
        if names not in NAMES:
            raise ValueError(f"names must be one of {', '.join(NAMES)}, not {names!r:.40}")
        if content is None:
            content = os.environ.get(_CAPTURE, "").strip().lower() in _ON_SPANS
        ours = version("callsheet")
        tracer = trace.get_tracer("callsheet", ours, tracer_provider)
        meter = metrics.get_meter("callsheet", ours, meter_provider)
        self.stages = _STAGES
        self._calls = TracedCalls()
        recorded = partial(_redacted, redact) if content else None
        self._spans = CallSpans(tracer, self._calls, NAMES[names], recorded)
        self._metrics = CallMetrics(meter, names)
        self._has_failed = False

    def __repr__(self) -> str:
        return f"<OpenTelemetry: {len(self._calls)} calls open>"

    def __call__(self, event: CallEvent) -> None:
        """Take an event of a call or a post.

        Args:
            event: an event of any kind.
        """
        try:
            self._observe(event)
        except Exception as error:  # noqa: BLE001  # of the program's telemetry, as of its log (R17)
            if not self._has_failed:
                self._has_failed = True
                trace_of_error = "".join(format_exception(error))
                _log.warning("telemetry_failed", error=str(error), exception=trace_of_error)

    def _observe(self, event: CallEvent) -> None:
        stage = event.stage
        if stage in _ENDS:
            call = self._calls.of(event)
            if call is not None:
                try:
                    self._metrics.ended(call, event)
                finally:
                    self._spans.end(call, event)
        elif stage == "queued":
            if (call := self._calls.of(event)) is not None:
                call.queued_at = event.at
        elif stage == "admitted":
            call = self._calls.of(event)
            if call is not None and call.queued_at is not None:
                waited_s, call.queued_at = event.at - call.queued_at, None
                if waited_s >= _SHORT_S:
                    self._metrics.waited(call, waited_s)
                    if not call.is_over:  # its followers may wait on
                        call.span.set_attribute(WAITED_S, waited_s)
        else:
            self._spans.observe(event)


def _redacted(redact: Callable[[str], str], text: str) -> str:
    """Return a text as it is recorded. The function may raise, but must not end a call."""
    try:
        return redact(text)
    except Exception:  # noqa: BLE001  # a function of the user's may raise anything
        return "***"
