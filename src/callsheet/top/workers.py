"""One reading of all programs that share a server, each of which is a worker. Pure (R14)."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import attrs

from ..actors import (
    LimitReading,
    ProgramReport,
    Reading,
    RunReading,
    SpendReading,
    WorkerReading,
    combined_reading,
)

_MOST_ENDPOINTS = 100


def reading_of_all(
    reports: Iterable[ProgramReport], runs: Sequence[RunReading], at: float
) -> Reading:
    """Return the reading of all programs.

    A program of several troupes is one worker. Limits are those that all share, each once: its use
    is that of the program which uses it most, and calls in flight are added.

    Args:
        reports: the latest report of each troupe.
        runs: the runs on the server.
        at: the time of the reading, in seconds on the clock of the one who looks.
    """
    ordered = sorted(reports, key=lambda one: (one.host, one.pid, one.troupe))
    processes: dict[tuple[str, int], list[ProgramReport]] = {}
    for report in ordered:
        processes.setdefault((report.host, report.pid), []).append(report)
    workers = tuple(map(_worker, processes.values()))
    if not ordered:
        return Reading(at=at, runs=tuple(runs))
    readings = {
        f"{one.host} {one.pid} {one.troupe} {number}": one.reading
        for number, one in enumerate(ordered)
    }
    whole = combined_reading(readings, is_one_ledger=False, is_one_runtime=False)
    return attrs.evolve(
        whole,
        at=at,
        max_in_flight=None,  # each of them has its own bound
        limits=_limits(ordered),
        endpoints=whole.endpoints[:_MOST_ENDPOINTS],
        spend=_spend(ordered),
        missing=(),  # each worker has its own
        workers=workers,
        runs=tuple(runs),
    )


def _worker(reports: Sequence[ProgramReport]) -> WorkerReading:
    """Return the line of one process."""
    first, readings = reports[0], [one.reading for one in reports]
    uses = [limit.use for one in readings for limit in one.limits if limit.use is not None]
    bounds = [one.max_in_flight for one in readings]
    spend = _spend(reports)
    return WorkerReading(
        host=first.host,
        pid=first.pid,
        program=first.program,
        in_flight=sum(one.in_flight for one in readings),
        max_in_flight=None if None in bounds else sum(filter(None, bounds)),
        waiting=sum(one.waiting for one in readings),
        done=sum(one.done for one in readings),
        calls_per_s=sum(one.calls_per_s for one in reports),
        cost_usd=None if spend is None else spend.known_usd,
        use=max(uses, default=None),
        pause_s=max((one.seconds for each in readings for one in each.pauses), default=0.0),
        missing=sorted({stage for one in readings for stage in one.missing}),
    )


def _limits(reports: Iterable[ProgramReport]) -> list[LimitReading]:
    found: dict[tuple[str, str, str, float | None], LimitReading] = {}
    for report in reports:
        for limit in report.reading.limits:
            subject = ": ".join(filter(None, (report.troupe, limit.subject)))
            same = report.troupe, limit.subject, limit.dimension, limit.per_s
            limit = attrs.evolve(limit, subject=subject)  # noqa: PLW2901  # it is in one list now
            earlier = found.get(same)
            found[same] = limit if earlier is None else _both(earlier, limit)
    return list(found.values())


def _both(one: LimitReading, other: LimitReading) -> LimitReading:
    """Return a limit as two programs have it."""
    limits = [limit for limit in (one.limit, other.limit) if limit is not None]
    limit = max(limits, default=None)
    if one.dimension == "in_flight":
        used = (one.used or 0.0) + (other.used or 0.0)
        use = None if not limit else min(1.0, used / limit)
        return attrs.evolve(one, limit=limit, used=used, use=use)
    busier = max(one, other, key=lambda each: -1.0 if each.use is None else each.use)
    return attrs.evolve(busier, limit=limit)


def _spend(reports: Iterable[ProgramReport]) -> SpendReading | None:
    """Return the costs of all ledgers, each once: several programs of a machine may have one."""
    latest: dict[tuple[str, str], ProgramReport] = {}
    for number, report in enumerate(reports):
        if report.reading.spend is None:
            continue
        of_one = report.ledger or f"{number}"  # in memory each has its own
        earlier = latest.get((report.host, of_one))
        if earlier is None or _known(report) > _known(earlier):
            latest[report.host, of_one] = report
    if not latest:
        return None
    readings = {f"{number}": one.reading for number, one in enumerate(latest.values())}
    return combined_reading(readings, is_one_ledger=False, is_one_runtime=False).spend


def _known(report: ProgramReport) -> Decimal:
    spend = report.reading.spend
    return Decimal(0) if spend is None else Decimal(spend.known_usd)
