"""The table and the figures of the simulated day, and what its questions cost a real server."""

import statistics
import time

import click
from rich.table import Table

from bench_kit.figures import Figure
from bench_kit.processes import resident_bytes
from bench_kit.report import make_table
from shared_bench.day import LIMIT_PER_S, WORKERS, simulate
from shared_bench.server import PrivateServer
from shared_bench.server_cost import cost_of

__all__ = ["day"]

_MIB = 2**20


def day(server: PrivateServer | None) -> tuple[Table, list[Figure]]:
    """Simulate the day, and return the table and the figures.

    Args:
        server: gets the questions of the busiest minutes; None to leave that out.
    """
    click.echo("a day ...", err=True)
    before, cpu = resident_bytes(), time.process_time()
    found = simulate()
    took_s = time.process_time() - cpu
    mean, peak = statistics.mean(found.asks_per_s), max(found.asks_per_s)
    table = make_table([f"a day of {WORKERS} workers"], [""])
    rows = [
        ("calls, extrapolated from the parts", f"{found.calls / 1e6:,.0f} million"),
        ("the limit", f"{LIMIT_PER_S * 60:,.0f} a minute"),
        ("exchanges", f"{found.asks / 1e6:,.1f} million"),
        ("exchanges a second, mean and most", f"{mean:,.0f}, {peak:,.0f}"),
        ("exchanges for 1,000 calls", f"{found.asks / found.calls * 1e3:,.0f}"),
        (f"used, median of {len(found.used)} spans at the limit", f"{median(found.used):.4f}"),
        ("used, the least of them", f"{min(found.used):.4f}"),
        ("used while the server was away", f"{median(found.used_away):.4f}"),
        ("calls beyond the limit, at most, in seconds of it", f"{found.most_over:.3f}"),
        ("Jain's index of 16 tenants", f"{found.fairness:.4f}"),
        ("workers that died", f"{found.deaths}"),
        ("CPU time of the simulation", f"{took_s:.0f} s"),
        ("its memory", f"{(resident_bytes() - before) / _MIB:,.0f} MiB"),
    ]
    figures = [
        Figure("a day: used at the limit", "", [median(found.used)], at_least=0.98, is_ratio=False),
        Figure("a day: fairness", "", [found.fairness], at_least=0.98, is_ratio=False),
        Figure("a day: exchanges a second", "", [peak], is_ratio=False),
    ]
    if server is not None:
        click.echo("its busiest minutes at a server ...", err=True)
        cost = cost_of(server, found.sample, peak)
        rows += [
            ("a real server: CPU time of an exchange", f"{cost.all_us:,.0f} us"),
            ("of which the script", f"{cost.script_us:,.0f} us"),
            ("bytes of question and answer", f"{cost.bytes_in:,.0f}, {cost.bytes_out:,.0f}"),
            ("memory of the state", f"{cost.memory / 1024:,.0f} KiB"),
            ("exchanges a second that were sent", f"{cost.per_s:,.0f}"),
            ("of a core at that pace", f"{peak * cost.all_us / 1e6:.0%}"),
            ("bytes a second at that pace", f"{peak * (cost.bytes_in + cost.bytes_out):,.0f}"),
        ]
        figures.append(
            Figure(
                "a day: script of an exchange",
                "us",
                [cost.script_us],
                at_most=300.0,
                is_ratio=False,
            )
        )
    for name, value in rows:
        table.add_row(name, value)
    return table, figures


def median(values: list[float]) -> float:
    """Return the median; 0 of nothing."""
    return statistics.median(values) if values else 0.0
