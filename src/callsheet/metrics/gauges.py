"""The samples of what the stages of a troupe report at a scrape. Pure (R14)."""

from collections.abc import Callable, Iterator
from math import isinf
from typing import final

import attrs

from ..actors import (
    Answers,
    BatchApiStatistics,
    BatchingStatistics,
    CacheStatistics,
    CostStatistics,
    LimiterStatistics,
    RequestStatistics,
)
from ..runtime import RuntimeSnapshot
from .calls import lane_label
from .labels import BoundedLabels, period_label, without_generation
from .samples import Labels, Sample


@final
@attrs.frozen
class GaugeLabels:
    """The labels of what a troupe reports, bounded each.

    Args:
        models: the label of a model, or of a pattern of models.
        lanes: the label of a lane.
        actors: the label of an actor, for its path below the runtime.
    """

    models: BoundedLabels
    lanes: BoundedLabels
    actors: BoundedLabels


def samples_of_stages(answers: Answers, labels: GaugeLabels) -> Iterator[Sample]:
    """Yield the samples of what the stages of an open troupe report.

    Args:
        answers: what its stages have replied; a stage that has not replied has no samples.
        labels: the labels of models, lanes and actors.
    """
    if answers.limits is not None:
        yield from _of_limiter(answers.limits, labels)
    if answers.requests is not None:
        yield from _of_requests(answers.requests)
    if answers.batching is not None:
        yield from _of_batching(answers.batching)
    if answers.cache is not None:
        yield from _of_cache(answers.cache)
    if answers.batches is not None:
        yield from _of_batches(answers.batches, labels)
    if answers.prompt_cache is not None:
        yield Sample("callsheet_prompt_cache_waiting", (), answers.prompt_cache.waiting)
    if answers.costs is not None:
        yield from _of_costs(answers.costs, labels)


class _Merged:
    """Samples of one family of which several may have the same labels.

    Args:
        family: the name of the family.
        merge: makes one value of two.
    """

    def __init__(
        self, family: str, merge: Callable[[float, float], float] = lambda one, two: one + two
    ) -> None:
        self._family = family
        self._merge = merge
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, value: float) -> None:
        known = self._values.get(labels)
        self._values[labels] = value if known is None else self._merge(known, value)

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(self._family, labels, value) for labels, value in self._values.items())


def samples_of_tree(tree: RuntimeSnapshot, labels: GaugeLabels) -> Iterator[Sample]:
    """Yield the samples of the actors of a runtime, which may have several troupes.

    Args:
        tree: the tree of its actors.
        labels: the labels of models, lanes and actors.
    """
    depth, capacity = _Merged("callsheet_mailbox_messages"), _Merged("callsheet_mailbox_capacity")
    oldest, restarts = (
        _Merged("callsheet_mailbox_oldest_seconds", max),
        _Merged("callsheet_restarts"),
    )
    messages = _Merged("callsheet_messages")
    for actor in tree.actors:
        name = labels.actors(without_generation(actor.path.partition("/")[2]))
        depth.add(name, value=actor.mailbox.depth)
        capacity.add(name, value=actor.mailbox.capacity)
        oldest.add(name, value=actor.oldest_s or 0.0)
        restarts.add(name, value=actor.restarts)
        counts = actor.counts
        for outcome, count in (
            ("handled", counts.handled),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
            ("expired", counts.expired),
            ("dropped", counts.dropped),
            ("dead_lettered", counts.dead_lettered),
        ):
            messages.add(name, outcome, value=count)
    for family in (depth, capacity, oldest, restarts, messages):
        yield from family
    yield Sample("callsheet_restarts_left", (), tree.restarts_left)


def _of_limiter(statistics: LimiterStatistics, labels: GaugeLabels) -> Iterator[Sample]:
    limiter = statistics.limiter
    yield Sample("callsheet_calls_in_flight", (), limiter.in_flight)
    yield Sample("callsheet_calls_in_flight_limit", (), limiter.max_in_flight)
    shared = limiter.shared
    yield Sample("callsheet_limits_processes", (), 1 if shared is None else shared.processes)
    yield Sample("callsheet_limits_away", (), int(shared is not None and shared.is_away))
    waiting = _Merged("callsheet_calls_waiting")
    paused = _Merged("callsheet_paused_seconds", max)
    waiting.add(lane_label(labels.lanes, ""), value=0)
    for scope in limiter.scopes:
        for lane, count in scope.waiting.items():
            waiting.add(lane_label(labels.lanes, lane), value=count)
        paused.add(_model(scope.name, labels), value=scope.parked_s)
    used = _Merged("callsheet_limit_used_ratio", max)
    amount = _Merged("callsheet_limit_amount")
    for bucket in limiter.buckets:
        if isinf(bucket.limit) or bucket.limit <= 0:
            continue
        names = (
            _model(bucket.scope, labels),
            bucket.dimension,
            period_label(bucket.per_s),
            bucket.source,
        )
        # Calls wait when `depth` is used up, which may be less than the amount of a period.
        full = bucket.depth if bucket.depth > 0 else bucket.limit
        used.add(*names, value=min(1.0, max(0.0, bucket.used / full)))
        amount.add(*names, value=bucket.limit)
    for family in (waiting, paused, used, amount):
        yield from family


def _model(scope: str, labels: GaugeLabels) -> str:
    """Return the label of the scope of a limit; "all" for a limit of all models."""
    return labels.models(scope) if scope else "all"


def _of_requests(statistics: RequestStatistics) -> Iterator[Sample]:
    for target, (_, breaker) in enumerate(statistics.breakers):  # the host is no label
        yield Sample("callsheet_breaker_open", (str(target),), breaker.state != "closed")
        yield Sample("callsheet_breaker_openings", (str(target),), breaker.opened)
    yield Sample("callsheet_hedges", (), sum(each.hedges for each in statistics.hedges))
    if statistics.throttle is not None:
        yield Sample("callsheet_retries_refused", (), statistics.throttle.refused)
    pools = [pool for _, pool in statistics.connections]
    yield Sample("callsheet_connections", ("idle",), sum(pool.idle for pool in pools))
    yield Sample("callsheet_connections", ("in_use",), sum(pool.in_use for pool in pools))


def _of_batching(statistics: BatchingStatistics) -> Iterator[Sample]:
    yield Sample("callsheet_combined_calls", (), statistics.combined)
    yield Sample("callsheet_joined_calls", (), statistics.joined)
    yield Sample("callsheet_combining_waiting", (), statistics.waiting)


def _of_cache(statistics: CacheStatistics) -> Iterator[Sample]:
    yield Sample("callsheet_cache_lookups", ("memory",), statistics.memory_hits)
    yield Sample("callsheet_cache_lookups", ("disk",), statistics.disk_hits)
    yield Sample("callsheet_cache_lookups", ("miss",), statistics.misses)
    yield Sample("callsheet_cache_saved_dollars", (), float(statistics.saved_usd))
    for place, usage in (("memory", statistics.memory), ("disk", statistics.disk)):
        if usage is not None:
            yield Sample("callsheet_cache_entries", (place,), usage.entries)
            yield Sample("callsheet_cache_size_bytes", (place,), usage.bytes)


def _of_batches(statistics: BatchApiStatistics, labels: GaugeLabels) -> Iterator[Sample]:
    for phase, count in statistics.batches.items():
        yield Sample("callsheet_batches", (phase,), count)
    yield Sample("callsheet_batch_requests", ("gathering",), statistics.gathering)
    yield Sample("callsheet_batch_requests", ("submitted",), statistics.submitted)
    for result, count in (
        ("answered", statistics.answered),
        ("failed", statistics.failed),
        ("live", statistics.live),
    ):
        yield Sample("callsheet_batch_results", (result,), count)
    enqueued = _Merged("callsheet_batch_enqueued_tokens")
    for model, tokens in statistics.enqueued_tokens.items():
        enqueued.add(labels.models(model), value=tokens)
    yield from enqueued


def _of_costs(statistics: CostStatistics, labels: GaugeLabels) -> Iterator[Sample]:
    money = _Merged("callsheet_ledger_dollars")
    saved = _Merged("callsheet_ledger_saved_dollars")
    unpriced = _Merged("callsheet_ledger_unpriced_calls")
    for model, sums in statistics.by.get("model", {}).items():
        name = labels.models(model)
        for account, amount in (
            ("spent", sums.spent),
            ("reserved", sums.reserved),
            ("maybe_billed", sums.maybe_billed),
            ("unknown", sums.unknown),
        ):
            money.add(name, account, value=float(amount.usd))
        saved.add(name, value=float(sums.spent.saved_usd))
        unpriced.add(name, value=sums.spent.unpriced_calls)
    for family in (money, saved, unpriced):
        yield from family
    yield Sample("callsheet_ledger_open_calls", (), statistics.open_calls)
    yield Sample("callsheet_ledger_unwritten_transactions", (), statistics.unwritten)
    used = _Merged("callsheet_budget_used_ratio", max)
    for state in statistics.budgets:  # each tenant of a gateway may have one
        usd = state.budget.usd
        used.add(state.budget.scope, value=float(state.used / usd) if usd else 1.0)
    yield from used
