"""Counts of calls, which an observer of their events makes."""

from collections.abc import Iterator
from decimal import Decimal
from typing import final

from ..actors import CallContext, CallEvent, CallStage, Response, Usage
from .labels import OTHER, ROUTES, BoundedLabels, error_label, one_of
from .samples import Sample, SampleCounts

ERRORS = frozenset(
    {
        *("AuthenticationFailed", "BadRequest", "BatchUnavailable", "BudgetExceeded"),
        *("ConnectionFailed", "ContentFiltered", "DeadlineTooShort", "LedgerUnavailable"),
        *("MalformedResponse", "ProviderUnavailable", "QuotaExhausted", "RateLimited"),
        *("RequestTooLarge", "SendTimedOut", "TurnTooLate", "UnreadableEndpoint"),
        *("ActorCrashed", "ActorStopped", "AskTimedOut", "Deadlock", "Dropped", "MailboxFull"),
    }
)
"""The errors that a call can fail with; see `callsheet.actors` and `callsheet.runtime`."""

_ENDS: tuple[CallStage, ...] = ("answered", "shared", "failed", "cancelled")
STAGES: frozenset[CallStage] = frozenset(
    {
        *("asked", "queued", "admitted", "sent", "retrying", "rerouted"),
        *_ENDS,
        "split",
    }
)
"""The events that are counted."""

_BEGUN = (
    *("cost_dollars", "input_tokens", "output_tokens", "cached_input_tokens"),
    *("unpriced_calls", "maybe_billed_attempts"),
)
"""The counters of a model that alerts and panels take the increase of."""

_DEFAULT_LANE = "default"


@final
class CallCounts:
    """Counts the calls of a troupe by their events, each call once.

    Args:
        models: the label of a model.
        lanes: the label of a lane.

    Attributes:
        open: the number of calls that were asked for and have not ended.
    """

    def __init__(self, models: BoundedLabels, lanes: BoundedLabels) -> None:
        self._models = models
        self._lanes = lanes
        self._counts = SampleCounts()
        self._begun: set[str] = set()  # labels of models that have series
        # {id of its context: the context, when it was asked for, the label of its model}
        self._open: dict[int, tuple[CallContext, float, str]] = {}
        # {id of its context: the context, when it was queued}
        self._queued: dict[int, tuple[CallContext, float]] = {}

    def __repr__(self) -> str:
        return f"<CallCounts {self.open} open>"

    @property
    def open(self) -> int:
        """The number of calls that were asked for and have not ended."""
        return len(self._open)

    def observe(self, event: CallEvent) -> None:
        """Count one event.

        Args:
            event: an event of one of `STAGES`.
        """
        counts, context = self._counts, event.context
        match event.stage:
            case "asked":
                model = self._models(event.model)
                self._open[id(context)] = (context, event.at, model)
                if model not in self._begun:
                    self._begin(model)
            case "queued":
                self._queued[id(context)] = (context, event.at)
            case "admitted":
                queued = self._queued.pop(id(context), None)
                if queued is not None:
                    lane = self._lane(context)
                    waited = event.at - queued[1]
                    counts.observe("callsheet_queue_duration_seconds", lane, value=waited)
            case "sent":
                route = one_of(ROUTES, event.route)
                counts.add("callsheet_attempts", self._models(event.model), route)
            case "retrying":
                error = error_label(event.failure, ERRORS)
                counts.add("callsheet_retries", self._models(event.model), error)
            case "rerouted":
                counts.add("callsheet_reroutes", self._models(event.model))
            case "split":  # a combined call has ended, and may never have been admitted
                self._queued.pop(id(context), None)
            case _:
                self._end(event)

    def samples(self) -> Iterator[Sample]:
        """Yield a sample for each series."""
        yield from self._counts.samples()
        yield Sample("callsheet_calls_open", (), self.open)

    def _begin(self, model: str) -> None:
        """Make the series of a model at 0: a rate does not see the first step of one."""
        self._begun.add(model)
        for outcome in _ENDS:
            self._counts.add("callsheet_calls", model, outcome, amount=0)
        for family in _BEGUN:
            self._counts.add(f"callsheet_{family}", model, amount=0)
        self._counts.add("callsheet_retries", model, "RateLimited", amount=0)

    def _end(self, event: CallEvent) -> None:
        self._queued.pop(id(event.context), None)
        begun = self._open.pop(id(event.context), None)
        if begun is None:  # it was asked for before this was an observer
            return
        _, asked_at, model = begun
        counts, response, paid = self._counts, event.response, model
        counts.add("callsheet_calls", model, event.stage)
        if response is not None:
            seconds, route = event.at - asked_at, one_of(ROUTES, response.route)
            counts.add("callsheet_responses", model, route)
            counts.observe("callsheet_call_duration_seconds", model, route, value=seconds)
            self._count_response(response, model)
            if response.fallback:  # as in the ledger
                paid = self._models(response.model)
        elif event.stage == "failed":
            counts.add("callsheet_call_failures", model, error_label(event.failure, ERRORS))
            maybe = getattr(event.failure, "maybe_billed", 0)
            if maybe:
                counts.add("callsheet_maybe_billed_attempts", model, amount=maybe)
        if event.usage is not None:
            self._count_usage(event.usage, event.cost_usd, paid)

    def _count_response(self, response: Response, model: str) -> None:
        counts = self._counts
        if response.first_byte_s is not None and response.http_requests:
            seconds = response.first_byte_s
            counts.observe("callsheet_first_byte_seconds", model, value=seconds)
        if response.maybe_billed:
            amount = response.maybe_billed
            counts.add("callsheet_maybe_billed_attempts", model, amount=amount)

    def _count_usage(self, usage: Usage, cost_usd: Decimal | None, model: str) -> None:
        counts = self._counts
        for family, tokens in (
            ("callsheet_input_tokens", usage.input_tokens),
            ("callsheet_output_tokens", usage.output_tokens),
            ("callsheet_cached_input_tokens", usage.cached_tokens),
            ("callsheet_cache_write_input_tokens", usage.cache_write_tokens),
            ("callsheet_reasoning_output_tokens", usage.reasoning_tokens),
        ):
            if tokens:
                counts.add(family, model, amount=tokens)
        if cost_usd is None and usage != Usage():
            counts.add("callsheet_unpriced_calls", model)
        elif cost_usd:
            counts.add("callsheet_cost_dollars", model, amount=cost_usd)

    def _lane(self, context: CallContext) -> str:
        """Return the label of a lane; that of a call of several lanes is `OTHER`."""
        lanes = {one.lane for one in context.shared_by or (context,)}
        return lane_label(self._lanes, lanes.pop()) if len(lanes) == 1 else OTHER


def lane_label(lanes: BoundedLabels, lane: str) -> str:
    """Return the label of a lane; "default" for calls without one.

    Args:
        lanes: the label of a name.
        lane: the name of the lane; "" for none.
    """
    return lanes(lane) if lane else _DEFAULT_LANE
