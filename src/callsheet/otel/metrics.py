"""The metrics of calls: durations, tokens, cost, and the time that calls wait."""

from collections.abc import Mapping
from itertools import pairwise
from typing import final

from opentelemetry.metrics import Meter
from opentelemetry.util.types import AttributeValue

from ..actors import CallEvent, Response, Usage
from . import names
from .attributes import error_type, valid_text
from .names import NAMES, Naming
from .traced_calls import TracedCall


@final
class CallMetrics:
    """Records the metrics of calls when they end.

    A call that another one or the cache supplied has no tokens of its own: it is counted only. The
    calls that share a combined call have their parts of its tokens and its cost.

    Args:
        meter: makes the instruments.
        naming: the version of the conventions whose names are used.
    """

    def __init__(self, meter: Meter, naming: Naming) -> None:
        version = NAMES[naming]
        self._operation_names = version.duration
        self._durations = {
            name: meter.create_histogram(
                name,
                unit="s",
                description="Duration of an operation, with waits and retries.",
                explicit_bucket_boundaries_advisory=names.SECONDS,
            )
            for name in dict.fromkeys(version.duration.values())
        }
        self._first_chunk = meter.create_histogram(
            version.first_chunk,
            unit="s",
            description="Time from the sending of a request to the first chunk of its response.",
            explicit_bucket_boundaries_advisory=names.SECONDS,
        )
        self._per_chunk = meter.create_histogram(
            version.per_chunk,
            unit="s",
            description="Time from one chunk of a response to the next one.",
            explicit_bucket_boundaries_advisory=names.SECONDS,
        )
        self._waited = meter.create_histogram(
            "callsheet.call.wait.duration",
            unit="s",
            description="Time at the rate limiter, of calls that waited there.",
            explicit_bucket_boundaries_advisory=names.LONG_SECONDS,
        )
        self._calls = meter.create_counter(
            "callsheet.calls", unit="{call}", description="Calls that have ended, by outcome."
        )
        self._cost = meter.create_counter(
            "callsheet.cost", unit="USD", description="Known cost of calls."
        )
        self._tokens = _TokenCounters(meter) if version.has_token_counters else _TokenUsage(meter)

    def waited(self, call: TracedCall, seconds: float) -> None:
        """Record how long a call waited at the limiter.

        Args:
            call: the call that was admitted.
            seconds: how long it waited.
        """
        self._waited.record(seconds, call.operation)

    def ended(self, call: TracedCall, event: CallEvent) -> None:
        """Record the end of a call.

        Args:
            call: the call that has ended.
            event: its last event.
        """
        attributes, response = dict(call.operation), event.response
        if event.stage == "shared" and event.usage == Usage():
            self._calls.add(1, {**attributes, names.OUTCOME: "shared"})
            return
        if response is not None:
            attributes[names.RESPONSE_MODEL] = valid_text(response.model)
        if event.usage is not None:
            self._tokens.record(event.usage, attributes, call)
        if event.cost_usd:
            self._cost.add(float(event.cost_usd), attributes)
        if response is not None and _is_live(response) and call.asked.is_streamed:
            self._first_chunk.record(response.first_byte_s or 0.0, attributes)
        for former, later in pairwise(call.piece_times):
            self._per_chunk.record(later - former, attributes)
        error = error_type(event)
        if error is not None:
            attributes[names.ERROR_TYPE] = error
        name = self._operation_names[str(attributes[names.OPERATION])]
        self._durations[name].record(event.at - call.asked.at, attributes)
        self._calls.add(1, {**attributes, names.OUTCOME: event.stage})


def _is_live(response: Response) -> bool:
    return response.first_byte_s is not None and response.route != "batch"


@final
class _TokenCounters:
    """The tokens as the newer conventions count them: a counter for each kind."""

    def __init__(self, meter: Meter) -> None:
        prefix = "gen_ai.client.inference.usage."
        self._counters = {
            kind: meter.create_counter(
                f"{prefix}{kind}", unit="{token}", description=f"{what} of all operations."
            )
            for kind, what in (
                ("input_tokens", "Input tokens"),
                ("output_tokens", "Output tokens"),
                ("cache_read.input_tokens", "Input tokens read from the provider's cache"),
                ("cache_write.input_tokens", "Input tokens written to the provider's cache"),
                ("reasoning.output_tokens", "Output tokens of reasoning"),
            )
        }
        self._input, self._output, self._embedded = (
            meter.create_histogram(
                name,
                unit="{token}",
                description="Tokens of one operation.",
                explicit_bucket_boundaries_advisory=names.TOKENS,
            )
            for name in (
                "gen_ai.client.inference.operation.input_tokens",
                "gen_ai.client.inference.operation.output_tokens",
                "gen_ai.client.embeddings.operation.input_tokens",
            )
        )

    def record(
        self, usage: Usage, attributes: Mapping[str, AttributeValue], call: TracedCall
    ) -> None:
        if call.request.task in ("embedding", "moderation"):
            self._embedded.record(usage.input_tokens, attributes)
            return
        self._input.record(usage.input_tokens, attributes)
        self._output.record(usage.output_tokens, attributes)
        is_mixed = any(message.attachments for message in call.request.messages)
        by_modality = {**attributes, names.TOKEN_MODALITY: "unknown" if is_mixed else "text"}
        for kind, count in (
            ("input_tokens", usage.input_tokens),
            ("output_tokens", usage.output_tokens),
            ("cache_read.input_tokens", usage.cached_tokens),
            ("cache_write.input_tokens", usage.cache_write_tokens),
            ("reasoning.output_tokens", usage.reasoning_tokens),
        ):
            if count:
                self._counters[kind].add(count, by_modality)


@final
class _TokenUsage:
    """The tokens as the conventions up to 1.41 have them: one histogram for input and output."""

    def __init__(self, meter: Meter) -> None:
        self._usage = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of one operation, by type.",
            explicit_bucket_boundaries_advisory=names.TOKENS,
        )

    def record(
        self,
        usage: Usage,
        attributes: Mapping[str, AttributeValue],
        call: TracedCall,  # noqa: ARG002  # as for `_TokenCounters`
    ) -> None:
        self._usage.record(usage.input_tokens, {**attributes, names.TOKEN_TYPE: "input"})
        if usage.output_tokens:
            self._usage.record(usage.output_tokens, {**attributes, names.TOKEN_TYPE: "output"})
