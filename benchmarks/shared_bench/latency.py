"""Calls at half a limit: the time from the submission of a call until it is sent."""

import statistics

import click
import trio

from bench_kit.figures import Figure
from callsheet.actors.valkey import ServerUrl, open_valkey
from shared_bench.load import Load
from shared_bench.processes import run_loads
from shared_bench.server import PrivateServer

__all__ = ["latency"]

_PROCESSES = 4
_PINGS = 40
_SECONDS = {600: 10.0, 6_000: 6.0, 60_000: 6.0}  # {rpm: how long}


def latency(server: PrivateServer) -> list[Figure]:
    """Return a figure for each limit, which four processes use to a half."""
    figures: list[Figure] = []
    for rpm, seconds in _SECONDS.items():
        alone, shared = _waits_ms(rpm, seconds, ""), _waits_ms(rpm, seconds, server.url)
        added = statistics.median(shared) - statistics.median(alone)
        title = f"half of {rpm:,} a minute, {_PROCESSES} proc.: "
        figures += [
            Figure(f"{title}wait, p50", "ms", shared, is_ratio=False),
            Figure(f"{title}wait without sharing", "ms", alone, is_ratio=False),
            Figure(f"{title}added, p50", "ms", [added], at_most=1.0, is_ratio=False),
            Figure(f"{title}a bare PING", "ms", _pings_ms(rpm, server.url), is_ratio=False),
            Figure(f"{title}wait, p99", "ms", [_p99(shared)], is_ratio=False),
        ]
    return figures


def _waits_ms(rpm: int, seconds: float, url: str) -> list[float]:
    """Return what calls of all processes wait; without sharing each has the whole limit."""
    click.echo(f"half of {rpm:,} a minute, {'shared' if url else 'not shared'} ...", err=True)
    per_s = rpm / 60.0 / 2.0 / _PROCESSES
    loads = [Load(rpm, url=url, per_s=per_s, seed=number) for number in range(_PROCESSES)]
    sent, _ = run_loads(loads, seconds)
    return [waited * 1e3 for one in sent for waited in one.waited]


def _pings_ms(rpm: int, url: str) -> list[float]:
    """Return what the shortest command takes, at the same rate: less cannot be added by a lease."""

    async def send() -> list[float]:
        found: list[float] = []
        async with open_valkey(ServerUrl.parse(url)) as client:
            for _ in range(_PINGS + 1):
                await trio.sleep(2.0 * 60.0 / rpm)
                before = trio.current_time()
                await client.command("PING")
                found.append((trio.current_time() - before) * 1e3)
        return found[1:]  # the first one connects

    return trio.run(send)


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
