"""The rows of workers and of runs: what programs that share a server do. Pure (R14)."""

from collections.abc import Callable, Mapping

from ..actors import Reading, RunReading, WorkerReading
from ..wording import percent, rate
from .section import Column, ScreenRow, Section, Style, age, count, usd


def workers_section(reading: Reading, sort: str) -> Section:
    """Return the section of the programs that share a server.

    Args:
        reading: the reading of all of them.
        sort: the order of its rows, one of `SORTS`.
    """
    orders: Mapping[str, Callable[[WorkerReading], float]] = {
        "calls": lambda one: one.calls_per_s,
        "waiting": lambda one: one.waiting,
        "use": lambda one: -1.0 if one.use is None else one.use,
        "cost": lambda one: float(one.cost_usd or 0),
    }
    workers = list(reading.workers)
    if sort in orders:
        workers.sort(key=orders[sort], reverse=True)
    machines = len({one.host for one in workers})
    words = "1 process" if len(workers) == 1 else f"{len(workers):,} processes"
    words += " on 1 machine" if machines == 1 else f" on {machines:,} machines"
    return Section(
        "Workers",
        words if workers else "none",
        (
            Column("worker", is_flexible=True),
            Column("process", is_number=True, rank=3),
            Column("program", rank=2),
            Column("in flight", is_number=True),
            Column("waiting", is_number=True),
            Column("calls/s", is_number=True),
            Column("done", is_number=True, rank=4),
            Column("limit", is_number=True, rank=1),
            Column("cost", is_number=True, rank=1),
            Column("pause", is_number=True, rank=1),
            Column("no reply", rank=2),
        ),
        tuple(map(_worker, workers)),
        "no program shares anything there",
    )


def _worker(one: WorkerReading) -> ScreenRow:
    style: Style = "busy" if one.waiting else ("good" if one.in_flight else "dim")
    if one.pause_s or one.missing:
        style = "bad"
    return ScreenRow(
        (
            one.host,
            str(one.pid),
            one.program,
            f"{one.in_flight:,}",
            count(one.waiting),
            rate(one.calls_per_s),
            f"{one.done:,}",
            "" if one.use is None else percent(one.use),
            "" if one.cost_usd is None else usd(one.cost_usd),
            age(one.pause_s) if one.pause_s else "",
            ", ".join(one.missing),
        ),
        style,
    )


def runs_section(reading: Reading, sort: str) -> Section:
    """Return the section of the runs on a server.

    Args:
        reading: the reading of all of them.
        sort: the order of its rows, one of `SORTS`.
    """
    runs = list(reading.runs)
    if sort == "rows":
        runs.sort(key=lambda one: one.waiting + one.taken, reverse=True)
    at_work = sum(one.state != "ended" for one in runs)
    return Section(
        "Runs",
        f"{len(runs):,}" + (f", {at_work:,} not ended" if runs else ""),
        (
            Column("run", is_flexible=True),
            Column("state"),
            Column("workers", is_number=True),
            Column("waiting", is_number=True),
            Column("taken", is_number=True),
            Column("answered", is_number=True, rank=1),
            Column("holder", rank=2),
        ),
        tuple(map(_run, runs)),
        "no run has rows there",
    )


def _run(one: RunReading) -> ScreenRow:
    style: Style = "good" if one.workers else "busy"
    if one.state == "ended":
        style = "dim"
    elif not one.holder:
        style = "bad"
    return ScreenRow(
        (
            one.name,
            one.state,
            f"{one.workers:,}",
            f"{one.waiting:,}",
            f"{one.taken:,}",
            f"{one.answered:,}",
            one.holder or ("" if one.state == "ended" else "none"),
        ),
        style,
    )
