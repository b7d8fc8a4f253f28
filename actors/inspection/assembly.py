"""Put a reading together from what the stages of a troupe report. Pure (R14)."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, TypeVar

import attrs

from ...runtime import ActorSnapshot, RuntimeSnapshot, Snapshot
from .readings import (
    ActorReading,
    BatchesReading,
    BudgetReading,
    CacheReading,
    CallReading,
    EndpointReading,
    ErrorReading,
    LaneReading,
    LimitReading,
    LimitSource,
    ModelSpend,
    PauseReading,
    QueueState,
    Reading,
    SharingReading,
    SpendReading,
)
from .records import kind_of, shown

if TYPE_CHECKING:
    from ..batch_api import BatchApiStatistics
    from ..batching import BatchingStatistics
    from ..cache import CacheStatistics
    from ..ledger import CostStatistics
    from ..prompt_cache import PromptCacheStatistics
    from ..rate_limit import LimiterSnapshot, LimiterStatistics, QueuedTurn, Turns
    from ..request import RequestStatistics
    from .records import CallRecords

# Entries of each sequence; further ones are counted as left out.
_MOST = {
    "actors": 1000,
    "lanes": 200,
    "limits": 200,
    "pauses": 50,
    "endpoints": 100,
    "models": 200,
    "budgets": 200,
}

_MAX_PATH = 4_000  # characters of the path of an actor

T = TypeVar("T")


@attrs.define
class Answers:
    """What the stages of a troupe have replied; None for a stage that has not, or is not there.

    Args:
        requests: the state of endpoints and connections.
        limits: the state of each limit.
        turns: the calls in flight and those that wait.
        batching: how many requests shared calls.
        cache: the hits and misses of the cache.
        costs: the costs that the ledger records.
        batches: the batches at the provider.
        prompt_cache: how many calls have followed others.
        missing: the stages that have not replied in time.
    """

    requests: "RequestStatistics | None" = None
    limits: "LimiterStatistics | None" = None
    turns: "Turns | None" = None
    batching: "BatchingStatistics | None" = None
    cache: "CacheStatistics | None" = None
    costs: "CostStatistics | None" = None
    batches: "BatchApiStatistics | None" = None
    prompt_cache: "PromptCacheStatistics | None" = None
    missing: list[str] = attrs.field(factory=list[str])


def assemble(
    answers: Answers,
    tree: RuntimeSnapshot,
    *,
    has_ledger: bool,
    records: "CallRecords | None",
) -> Reading:
    """Return the reading of a troupe.

    Args:
        answers: what the stages have replied.
        tree: the tree of the runtime.
        has_ledger: whether the troupe has a ledger.
        records: what is recorded of calls; None if nothing is.
    """
    limiter = None if answers.limits is None else answers.limits.limiter
    turns, first = answers.turns, _First()
    return Reading(
        at=tree.at,
        in_flight=0 if limiter is None else limiter.in_flight,
        max_in_flight=None if limiter is None else limiter.max_in_flight,
        waiting=0 if turns is None else sum(turns.waiting.values()),
        done=0 if turns is None else turns.ended,
        actors=tuple(map(_actor, first("actors", tree))),
        lanes=() if turns is None else first("lanes", _lanes(turns)),
        calls=() if turns is None else first.of_calls(turns),
        limits=() if limiter is None else first("limits", _limits(limiter)),
        pauses=() if limiter is None else first("pauses", _pauses(limiter)),
        endpoints=()
        if answers.requests is None
        else first("endpoints", _endpoints(answers.requests, tree.at)),
        errors=_errors(tree, records),
        spend=_spend(answers, records, has_ledger=has_ledger, first=first),
        cache=None if answers.cache is None else _cache(answers.cache),
        sharing=None if answers.batching is None else _sharing(answers.batching, answers),
        batches=None if answers.batches is None else _batches(answers.batches),
        left_out=first.left_out,
        missing=tuple(answers.missing),
    )


@attrs.define
class _First:
    """Takes the first items of sequences, and counts what they leave out."""

    left_out: dict[str, int] = attrs.field(factory=dict[str, int])

    def __call__(self, name: str, items: Iterable[T]) -> tuple[T, ...]:
        every = tuple(items)
        if len(every) > _MOST[name]:
            self.left_out[name] = len(every) - _MOST[name]
        return every[: _MOST[name]]

    def of_calls(self, turns: "Turns") -> tuple[CallReading, ...]:
        """Return the calls that the limiter has named, which are the first of each state."""
        calls = tuple(_calls(turns))
        if more := sum(turns.in_flight.values()) + sum(turns.waiting.values()) - len(calls):
            self.left_out["calls"] = more
        return calls


def _actor(node: Snapshot) -> ActorReading:
    restarts = node.restarts
    path, state = shown(node.path, _MAX_PATH), node.state.value
    if not isinstance(node, ActorSnapshot):
        return ActorReading(path=path, kind="supervisor", state=state, restarts=restarts)
    mailbox, counts = node.mailbox, node.counts
    return ActorReading(
        path=path,
        kind=node.class_name,
        state=state,
        restarts=restarts,
        members=node.size,
        depth=mailbox.depth,
        capacity=mailbox.capacity,
        oldest_s=node.oldest_s,
        senders=mailbox.senders_waiting,
        deferred=node.deferred,
        in_progress=len(node.in_progress),
        handled=counts.handled,
        failed=counts.failed,
    )


def _lanes(turns: "Turns") -> list[LaneReading]:
    names = {**turns.waiting, **turns.in_flight}
    lanes = [
        LaneReading(
            name=shown(name),
            in_flight=turns.in_flight.get(name, 0),
            waiting=turns.waiting.get(name, 0),
            next_s=turns.next_s.get(name),
        )
        for name in names
    ]
    return sorted(lanes, key=lambda lane: (-lane.waiting - lane.in_flight, lane.name))


def _calls(turns: "Turns") -> Iterator[CallReading]:
    states: tuple[tuple[QueueState, tuple[QueuedTurn, ...]], ...] = (
        ("in flight", turns.oldest),
        ("waiting", turns.upcoming),
    )
    for state, calls in states:
        for call in calls:
            ids = call.context
            yield CallReading(
                call=shown(ids.call),
                post=None if ids.post is None else shown(ids.post),
                step=None if ids.step is None else shown(ids.step),
                lane=shown(call.lane),
                model=shown(call.model),
                state=state,
                seconds=call.seconds,
                turn_s=call.turn_s,
            )


def _limits(limiter: "LimiterSnapshot") -> Iterator[LimitReading]:
    """Yield the limit of calls in flight, those with a period, and those of single models."""
    yield _of_calls("", limiter.max_in_flight, limiter.in_flight, "set")
    for bucket in limiter.buckets:
        yield LimitReading(
            subject=shown(bucket.subject),
            dimension=bucket.dimension,
            limit=bucket.limit,
            per_s=bucket.per_s,
            used=bucket.used,
            use=_share(bucket.used, bucket.depth),
            source=bucket.source,
            others_per_s=bucket.others_per_s,
        )
    for scope in limiter.scopes:
        subject = ", ".join(filter(None, (scope.name, scope.member)))
        if scope.max_in_flight < inf:
            yield _of_calls(subject, scope.max_in_flight, scope.in_flight, "learned")
        if scope.found.in_flight < inf:
            yield _of_calls(subject, scope.found.in_flight, scope.in_flight, "found")
        if scope.found.rate < inf:
            yield LimitReading(
                subject=shown(subject),
                dimension="requests",
                limit=scope.found.rate,
                per_s=1.0,
                used=None,
                use=None,
                source="found",
            )


def _of_calls(subject: str, limit: float, used: int, source: LimitSource) -> LimitReading:
    return LimitReading(
        subject=shown(subject),
        dimension="in_flight",
        limit=None if limit == inf else limit,
        per_s=None,
        used=used,
        use=None if limit == inf else min(1.0, used / limit) if limit else float(used > 0),
        source=source,
    )


def _share(used: float, limit: float) -> float:
    """Return a use as a share; of nothing, as of places that other processes have, it is 1."""
    return min(1.0, used / limit) if limit > 0 else 1.0


def _pauses(limiter: "LimiterSnapshot") -> Iterator[PauseReading]:
    for scope in limiter.scopes:
        if scope.parked_s > 0:
            subject = ", ".join(filter(None, (scope.name, scope.member)))
            yield PauseReading(subject=shown(subject), seconds=scope.parked_s)


def _errors(tree: RuntimeSnapshot, records: "CallRecords | None") -> tuple[ErrorReading, ...]:
    """Return the errors of calls and the crashes of actors, the latest first."""
    crashes: dict[tuple[str, str, str], ErrorReading] = {}
    for crash in tree.crashes:
        same = crash.path, crash.kind, kind_of(crash.text)
        earlier = crashes.get(same)
        crashes[same] = ErrorReading(
            kind=crash.kind,
            text=shown(crash.text),
            retried=0,
            failed=0,
            seconds=tree.at - crash.at,
            call="",
            actor=shown(crash.path, _MAX_PATH),
            crashed=1 if earlier is None else earlier.crashed + 1,
        )
    of_calls = () if records is None else records.errors(tree.at)
    return tuple(sorted((*of_calls, *crashes.values()), key=lambda error: error.seconds))


def _endpoints(requests: "RequestStatistics", now: float) -> Iterator[EndpointReading]:
    connections = dict(requests.connections)
    for name, breaker in requests.breakers:
        pool = connections.get(name)
        again_s = max(0.0, breaker.next_at - now)
        yield EndpointReading(
            name=shown(name),
            breaker=breaker.state,
            again_s=None if breaker.state == "closed" or again_s == inf else again_s,
            opened=breaker.opened,
            connections=None if pool is None else pool.open,
            idle=None if pool is None else pool.idle,
        )


def _spend(
    answers: Answers, records: "CallRecords | None", *, has_ledger: bool, first: _First
) -> SpendReading | None:
    saved_usd = Decimal(0) if answers.cache is None else answers.cache.saved_usd
    if not has_ledger:
        return None if records is None else records.spend(saved_usd)
    costs = answers.costs
    if costs is None:
        return None
    totals = costs.totals
    by_model = sorted(costs.by["model"].items(), key=lambda item: item[1].spent.usd, reverse=True)
    return SpendReading(
        source="ledger",
        known_usd=str(totals.spent.usd),
        reserved_usd=str(totals.reserved.usd),
        maybe_usd=str(totals.maybe_billed.usd),
        maybe=totals.maybe_billed.calls,
        unknown_usd=str(totals.unknown.usd),
        unpriced=totals.spent.unpriced_calls + totals.unknown.calls,
        saved_usd=str(totals.spent.saved_usd + saved_usd),
        models=first(
            "models",
            (
                ModelSpend(
                    model=shown(model),
                    calls=sums.spent.calls + sums.unknown.calls,
                    input_tokens=sums.spent.input_tokens,
                    output_tokens=sums.spent.output_tokens,
                    known_usd=str(sums.spent.usd),
                    unpriced=sums.spent.unpriced_calls + sums.unknown.calls,
                )
                for model, sums in by_model
            ),
        ),
        budgets=first(
            "budgets",
            (
                BudgetReading(name=shown(one.name), used_usd=str(one.used), left_usd=str(one.left))
                for one in costs.budgets
            ),
        ),
    )


def _cache(cache: "CacheStatistics") -> CacheReading:
    usage = cache.disk or cache.memory
    return CacheReading(
        hits=cache.memory_hits + cache.disk_hits,
        misses=cache.misses,
        stored=cache.stored,
        saved_usd=str(cache.saved_usd),
        entries=usage.entries,
        bytes=usage.bytes,
    )


def _sharing(batching: "BatchingStatistics", answers: Answers) -> SharingReading:
    followers = 0 if answers.prompt_cache is None else answers.prompt_cache.waiting
    return SharingReading(
        joined=batching.joined,
        combined=batching.combined,
        waiting=batching.waiting,
        followers=followers,
    )


def _batches(batches: "BatchApiStatistics") -> BatchesReading:
    phases: Mapping[str, int] = batches.batches
    return BatchesReading(
        new=phases.get("new", 0) + phases.get("marked", 0),
        running=phases.get("running", 0) + phases.get("unsure", 0),
        ended=phases.get("ended", 0),
        gathering=batches.gathering,
        submitted=batches.submitted,
        answered=batches.answered,
        failed=batches.failed,
        live=batches.live,
    )
