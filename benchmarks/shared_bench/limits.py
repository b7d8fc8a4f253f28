"""One limit, used up by 1, 2, 4 and 8 processes: its use, 429s, exchanges, and added latency."""

import statistics
from collections.abc import Iterator, Sequence
from functools import partial

import attrs
import click
from rich.table import Table

from bench_kit.figures import Figure
from bench_kit.report import make_table
from shared_bench.load import Load
from shared_bench.processes import run_loads
from shared_bench.replay import lateness_s, replay, windowed
from shared_bench.server import PrivateServer

__all__ = ["LIMIT_TITLES", "limits"]

_PROCESSES = (1, 2, 4, 8)
_WINDOWS = {600: (3.0, 20.0), 6_000: (2.0, 8.0), 60_000: (2.0, 5.0)}  # {rpm: warm-up, window}, s
_BACKLOG_S = 3.0  # of the limit: the calls of all processes that wait at any time
_FEW, _MOST = 60.0, 1_200.0  # exchanges for 1,000 calls
_PROCESSES_OF_FEW = {6_000: 1, 60_000: 8}  # {rpm: the most processes that need so few}
LIMIT_TITLES = ("a minute", "processes")


@attrs.frozen
class Cell:
    """What was measured with one number of processes at one limit.

    Args:
        used: the share of the limit that was used in the window, 0 to 1.
        refused: calls, from the start on, that a provider with that limit would have refused.
        nearly: those of them that it would have accepted 10 ms later.
        trips: exchanges with the server for 1,000 calls.
        beyond_ms: the median of the milliseconds that calls went after the instant that the store
            gave them.
        uneven_ms: the median of the milliseconds that calls went after the instant of the most even
            schedule.
        least: the number of calls of the process that sent the fewest, in the window.
        most: the number of calls of the process that sent the most.
        load_cores: cores that the processes used.
        server_us: CPU time of the server for one exchange, in microseconds.
    """

    used: float
    refused: int
    nearly: int
    trips: float
    beyond_ms: float
    uneven_ms: float
    least: int
    most: int
    load_cores: float
    server_us: float


def limits(server: PrivateServer | None) -> tuple[Table, list[Figure]]:
    """Measure all cells, and return their table and the figures.

    Args:
        server: the server; without one only the process that shares nothing is measured.
    """
    table = make_table(
        [*LIMIT_TITLES],
        [
            "used",
            "429s",
            "within 10 ms",
            "trips/1,000",
            "beyond, p50",
            "uneven, p50",
            "least..most",
            "cores",
            "us/trip",
        ],
    )
    figures: list[Figure] = []
    for rpm in _WINDOWS:
        alone = _measured(rpm, 1, None)
        table.add_row(f"{rpm:,}", "1, sharing nothing", *_cells(alone))
        for processes in _PROCESSES if server is not None else ():
            cell = _measured(rpm, processes, server)
            table.add_row(f"{rpm:,}", str(processes), *_cells(cell))
            figures += _figures(f"{rpm:,} a minute, {processes} proc.", cell, alone, rpm, processes)
    return table, figures


def _measured(rpm: int, processes: int, server: PrivateServer | None) -> Cell:
    click.echo(f"{rpm:,} a minute, {processes} process(es) ...", err=True)
    warm_s, window_s = _WINDOWS[rpm]
    rate = rpm / 60.0
    waiting = max(5, round(_BACKLOG_S * rate / processes))
    load = Load(rpm, waiting=waiting, url="" if server is None else server.url)
    counts: list[tuple[int, float]] = []

    def look() -> None:
        counts.append((0, 0.0) if server is None else server.scripts())

    ends = warm_s + window_s
    sent, start = run_loads([load] * processes, ends, looks=[(warm_s, look), (ends - 0.05, look)])
    merged = sorted(at for one in sent for at in one.instants)
    inside = windowed(merged, start + warm_s, start + ends - 0.05)
    shares = [len(windowed(one.instants, inside[0], inside[-1])) for one in sent]
    (before, before_s), (after, after_s) = counts
    replayed = replay(merged, rate)
    return Cell(
        used=(len(inside) - 1) / (inside[-1] - inside[0]) / rate,
        refused=replayed.refused,
        nearly=replayed.nearly,
        trips=(after - before) / len(inside) * 1_000,
        beyond_ms=statistics.median([late for one in sent for late in one.beyond] or [0.0]) * 1e3,
        uneven_ms=statistics.median(lateness_s(inside, rate)) * 1e3,
        least=min(shares),
        most=max(shares),
        load_cores=sum(one.cpu_s for one in sent) / ends,
        server_us=(after_s - before_s) / (after - before) * 1e6 if after > before else 0.0,
    )


def _figures(title: str, cell: Cell, alone: Cell, rpm: int, processes: int) -> Iterator[Figure]:
    few = processes <= _PROCESSES_OF_FEW.get(rpm, 0)
    plain = partial(Figure, unit="", is_ratio=False)
    beside = partial(plain, baseline_name="sharing nothing")
    yield beside(f"{title}: used", ours=[cell.used], baseline=[alone.used], at_least=0.98)
    yield Figure(
        f"{title}: 429s", "", [float(cell.refused)], at_most=float(alone.refused), is_ratio=False
    )
    yield plain(f"{title}: trips", ours=[cell.trips], at_most=_FEW if few else _MOST)
    added = cell.beyond_ms - alone.uneven_ms  # a timer is late without sharing, too
    name = f"{title}: added to the instant, p50"
    yield Figure(name, "ms", [added], at_most=1.0, is_ratio=False)


def _cells(cell: Cell) -> Sequence[str]:
    return (
        f"{cell.used:.4f}",
        str(cell.refused),
        str(cell.nearly),
        f"{cell.trips:,.1f}",
        f"{cell.beyond_ms:.2f} ms",
        f"{cell.uneven_ms:.2f} ms",
        f"{cell.least:,}..{cell.most:,}",
        f"{cell.load_cores:.2f}",
        f"{cell.server_us:,.0f}",
    )
