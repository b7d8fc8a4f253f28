"""Every metric that Callsheet exports: its name, kind, labels and help. Pure (R14).

The table is the one place that names metrics. docs/observability.md lists it, and a test compares
the two.
"""

from collections.abc import Mapping
from typing import Literal

import attrs

FamilyKind = Literal["counter", "gauge", "histogram", "info"]

CALL_SECONDS = (
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    3_600.0, 21_600.0, 86_400.0,
)  # fmt: skip
"""Upper bounds in seconds for what may take a day, as a call that goes through a batch."""

WAIT_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
"""Upper bounds in seconds for a wait at the limiter, and for the first byte of a response."""


@attrs.frozen
class MetricFamily:
    """One metric, which has a series for each combination of its labels.

    Args:
        name: the name without the suffix `_total` of a counter.
        kind: what it is, in the words of Prometheus.
        help: one sentence for people.
        labels: the names of its labels.
        buckets: the upper bounds of a histogram, ascending, without infinity.
    """

    name: str
    kind: FamilyKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exported_name(self) -> str:
        """The name that a query uses; that of a histogram gets `_bucket`, `_sum` or `_count`."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _counter(name: str, help_text: str, *labels: str) -> MetricFamily:
    return MetricFamily(f"callsheet_{name}", "counter", help_text, labels)


def _gauge(name: str, help_text: str, *labels: str) -> MetricFamily:
    return MetricFamily(f"callsheet_{name}", "gauge", help_text, labels)


def _histogram(name: str, buckets: tuple[float, ...], help_text: str, *labels: str) -> MetricFamily:
    return MetricFamily(f"callsheet_{name}", "histogram", help_text, labels, buckets)


_ALL = (
    MetricFamily("callsheet_build", "info", "The version of Callsheet.", ("version",)),
    _gauge("troupe_open", "1 while the troupe is open and answers, 0 before and after."),
    # ------------------------------------------------------------------------------------- calls
    _counter("calls", "Calls that have ended, each once, by how they ended.", "model", "outcome"),
    _counter("responses", "Calls with a response, by the route it took.", "model", "route"),
    _counter("call_failures", "Calls that have failed, by the error.", "model", "error"),
    _gauge("calls_open", "Calls that were asked for and have not ended."),
    _histogram(
        "call_duration_seconds",
        CALL_SECONDS,
        "Seconds from asking for a call to its response, waits and retries included.",
        "model",
        "route",
    ),
    _histogram(
        "first_byte_seconds",
        WAIT_SECONDS,
        "Seconds from sending a request to the first byte of its response.",
        "model",
    ),
    _histogram(
        "queue_duration_seconds",
        WAIT_SECONDS,
        "Seconds that a call waited at the limiter before it was admitted.",
        "lane",
    ),
    _counter("attempts", "Requests that were sent to the provider.", "model", "route"),
    _counter("retries", "Attempts that failed and were followed by another.", "model", "error"),
    _counter("reroutes", "Calls that were sent live and not in a batch.", "model"),
    # ------------------------------------------------------------------------------------ tokens
    _counter("input_tokens", "Tokens of prompts, cached ones included.", "model"),
    _counter("output_tokens", "Tokens of responses, reasoning included.", "model"),
    _counter("cached_input_tokens", "Input tokens read from the provider's cache.", "model"),
    _counter("cache_write_input_tokens", "Input tokens written to the provider's cache.", "model"),
    _counter("reasoning_output_tokens", "Output tokens of reasoning.", "model"),
    # ------------------------------------------------------------------------------------- money
    _counter("cost_dollars", "USD that ended calls have cost, as far as it is known.", "model"),
    _counter("unpriced_calls", "Calls with tokens whose price is not known.", "model"),
    _counter(
        "maybe_billed_attempts",
        "Attempts of ended calls that may have been charged without a response that was used.",
        "model",
    ),
    _gauge(
        "ledger_dollars",
        "USD in the ledger by account, earlier runs of its file included.",
        "model",
        "account",
    ),
    _gauge(
        "ledger_saved_dollars",
        "USD that the provider's cache and cheaper tiers have saved, by the ledger.",
        "model",
    ),
    _gauge("ledger_unpriced_calls", "Calls in the ledger whose price is not known.", "model"),
    _gauge("ledger_open_calls", "Reservations of calls in flight."),
    _gauge("ledger_unwritten_transactions", "Transactions that the file does not have yet."),
    _gauge(
        "budget_used_ratio",
        "Used part of a budget, 0 to 1; of the fullest tenant, model and so on that it is for.",
        "scope",
    ),
    # ------------------------------------------------------------------------------------ limits
    _gauge("calls_in_flight", "Calls that the limiter has admitted and that have not ended."),
    _gauge("calls_in_flight_limit", "The most calls in flight at a time."),
    _gauge("calls_waiting", "Calls that wait at the limiter.", "lane"),
    _gauge("limits_processes", "Processes that share the limits, this one included."),
    _gauge("limits_away", "1 while the server of shared limits does not answer, else 0."),
    _gauge(
        "limit_used_ratio",
        "Used part of a limit, 0 to 1; of the fullest member of a pool.",
        "model",
        "dimension",
        "period",
        "source",
    ),
    _gauge(
        "limit_amount",
        "Requests, tokens or USD that a limit allows in its period, over all members of a pool.",
        "model",
        "dimension",
        "period",
        "source",
    ),
    _gauge("paused_seconds", "Seconds for which no call is admitted after a refusal.", "model"),
    # ---------------------------------------------------------------------------------- requests
    _gauge("breaker_open", "1 while the circuit breaker of a target lets no call pass.", "target"),
    _counter("breaker_openings", "Times that a circuit breaker has opened.", "target"),
    _counter("hedges", "Second copies of slow calls that were allowed."),
    _counter("retries_refused", "Retries and hedges that the throttle did not allow."),
    _gauge("connections", "Connections to providers.", "state"),
    # ---------------------------------------------------------------------- cache, lists and packs
    _counter("cache_lookups", "Cacheable calls, by where the response was found.", "result"),
    _counter("cache_saved_dollars", "USD that the responses of all hits have cost before."),
    _gauge("cache_entries", "Responses in the cache.", "place"),
    _gauge("cache_size_bytes", "Bytes of the responses in the cache.", "place"),
    _counter("combined_calls", "Calls that were sent for several requests."),
    _counter("joined_calls", "Requests that the call of an identical request has answered."),
    _gauge("combining_waiting", "Requests that wait to share a call."),
    _gauge("prompt_cache_waiting", "Calls that wait for the provider's cache to be written."),
    # --------------------------------------------------------------------------------- Batch API
    _gauge("batches", "Batches at the provider, by phase.", "phase"),
    _gauge("batch_requests", "Requests that are not in a batch yet, or wait for one.", "state"),
    _counter("batch_results", "Requests that the Batch API stage is done with.", "result"),
    _gauge("batch_enqueued_tokens", "Estimated prompt tokens in batches.", "model"),
    # ------------------------------------------------------------------------------------ actors
    _gauge("mailbox_messages", "Messages that wait in a mailbox.", "actor"),
    _gauge("mailbox_capacity", "Messages that a mailbox holds.", "actor"),
    _gauge("mailbox_oldest_seconds", "Seconds that the oldest message has waited.", "actor"),
    _counter("messages", "Messages of an actor, by how they ended.", "actor", "outcome"),
    _counter("restarts", "Restarts of an actor after a crash.", "actor"),
    _gauge("restarts_left", "Restarts that are left before crashes end the troupe."),
)

FAMILIES: Mapping[str, MetricFamily] = {family.name: family for family in _ALL}
"""Every metric, by its name without `_total`."""
