"""Measure the use of a provider's limits, the number of 429s, and the cost of a permit.

    python benchmarks/limits.py [--requests 300] [--only sockets|day|permits] [--check]

The provider runs in its own process and allows 600 requests and 90,000 tokens a minute, but at
most a second's share of them at once, which it does not announce. Contenders run in turn, each
in its own process. "Used" is the used share of the limit that binds, between the first and the last
accepted request; the burst at the start may bring it above 1. The alternatives are in the
dependency group "bench"; those that are not installed are left out.

The day is a simulation of a million requests. Its 429s belong to requests that were on their way
when the limit was lowered. The whole benchmark takes six minutes.
"""

import gc
import json
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec

import attrs
import click
import httpx
import trio
from rich.table import Table

from bench_kit.figures import Figure
from bench_kit.processes import module_command, module_environment
from bench_kit.report import figures_table, make_table, print_tables
from bench_kit.sampling import cpu_s, settle
from callsheet.compare.comparison import open_provider
from limits_bench.calls import RPM, TPM, chats
from limits_bench.client import CONTENDERS
from limits_bench.day import DayFigures, run_day
from limits_bench.permits import cost_of_free_us, cost_of_waiting_us

_PARTS = ("sockets", "day", "permits")
_TIME_SCALE = 0.1  # responses take 0.1 to 0.3 s
_FEW, _MANY = 100, 100_000
_ROUNDS = 5


@attrs.frozen
class Outcome:
    """The result of one contender.

    Args:
        title: the contender's name in the table.
        seconds: seconds from the first to the last accepted request.
        used: the used share of the limit that binds, 0 to 1.
        refused: number of responses with status 429.
        given_up: number of requests that never got a response.
    """

    title: str
    seconds: float
    used: float
    refused: int
    given_up: int


async def _run_clients(
    name: str, base_url: str, requests: Sequence[int]
) -> tuple[list[float], int]:
    """Run one client process for each number of requests.

    Args:
        name: the contender, a key of `CONTENDERS`.
        base_url: the provider's.
        requests: the number of requests of each process.

    Returns:
        The monotonic times in seconds at which the accepted requests were sent, and the number of
        requests that were given up.
    """
    sent: list[float] = []
    given_up = 0

    async def run(seed: int, count: int) -> None:
        nonlocal given_up
        options = ("--requests", str(count), "--seed", str(seed))
        ended = await trio.run_process(
            module_command("limits_bench.client", name, base_url, *options),
            capture_stdout=True,
            env=module_environment(),
        )
        said = json.loads(ended.stdout)
        sent.extend(said["sent"])
        given_up += said["given_up"]

    async with trio.open_nursery() as nursery:
        for seed, count in enumerate(requests):
            nursery.start_soon(run, seed, count)
    return sent, given_up


async def measure(name: str, title: str, requests: Sequence[int]) -> Outcome:
    """Measure one contender against a new provider.

    Args:
        name: the contender, a key of `CONTENDERS`.
        title: the contender's name in the table.
        requests: the number of requests of each of its processes.
    """
    async with (
        open_provider(seed=0, time_scale=_TIME_SCALE, rpm=RPM, tpm=TPM, burst_s=1.0) as base_url,
        httpx.AsyncClient(trust_env=False) as control,
    ):
        sent, given_up = await _run_clients(name, base_url, requests)
        root = base_url.removesuffix("/v1")
        stats = (await control.get(f"{root}/callsheet/stats")).json()
    seconds = max(sent) - min(sent)
    tokens = sum(
        chat.max_tokens for seed, count in enumerate(requests) for chat in chats(count, seed)
    )
    per_minute = (len(sent) - 1) / seconds * 60.0
    used = max(per_minute / RPM, per_minute * tokens / sum(requests) / TPM)
    return Outcome(title, seconds, used, stats["rejected"], given_up)


def sockets(requests: int) -> tuple[Table, list[Figure], list[str]]:
    """Measure all contenders over sockets, and return the table, the figures and the notes."""
    table = make_table(["contender"], ["seconds", "used", "429s", "given up"])
    notes: list[str] = []
    outcomes: dict[str, Outcome] = {}
    runs = [(name, entrant.title, [requests]) for name, entrant in CONTENDERS.items()]
    halves = [requests // 2, requests - requests // 2]
    runs.insert(2, ("told", "callsheet, two processes, limits from headers", halves))
    for name, title, counts in runs:
        if find_spec(CONTENDERS[name].package) is None:
            notes.append(f"{CONTENDERS[name].package} is not installed: left out.")
            continue
        click.echo(f"{title} ...", err=True)
        found = outcomes[title] = trio.run(measure, name, title, counts)
        row = (f"{found.seconds:.1f}", f"{found.used:.3f}", str(found.refused), str(found.given_up))
        table.add_row(title, *row)
    set_, told, two, by_trying = (outcomes[title] for title in [title for _, title, _ in runs][:4])
    figures = [
        Figure("used, limits set", "", [set_.used], at_least=0.99, is_ratio=False),
        Figure("429s, limits set", "", [float(set_.refused)], at_most=0.0, is_ratio=False),
        Figure("used, limits from headers", "", [told.used], at_least=0.99, is_ratio=False),
        Figure("429s, limits from headers", "", [float(told.refused)], at_most=0.0, is_ratio=False),
        Figure("used by two processes", "", [two.used], at_least=0.95, is_ratio=False),
        Figure("429s of two processes", "", [float(two.refused)], is_ratio=False),
        Figure(
            "429s, limits found by trying",
            "",
            [float(by_trying.refused)],
            at_most=3.0,
            is_ratio=False,
        ),
    ]
    return table, figures, notes


def day() -> tuple[Table, list[Figure]]:
    """Simulate the day, and return the table and the figures."""
    click.echo("a day ...", err=True)
    settle()
    gc.disable()  # there are no cycles, and each collection would traverse all waiting calls
    start = cpu_s()
    found: DayFigures = run_day()
    took = cpu_s() - start
    gc.enable()
    table = make_table(["a day of 50 tenants"], [""])
    for name, value in (
        ("requests answered", f"{found.requests:,}"),
        ("429s", f"{found.refused:,}"),
        ("retries, outage included", f"{found.retried:,}"),
        (f"used, median of {found.spans} spans of ten minutes", f"{found.used:.4f}"),
        ("used, the least of these spans", f"{found.least_used:.4f}"),
        ("Jain's index of fairness", f"{found.fairness:.5f}"),
        *(
            (f"worst wait, {name}", f"{seconds:,.1f} s")
            for name, seconds in found.worst_wait_s.items()
        ),
        ("time of the last response", f"{found.end_s / 3600:.1f} h"),
        ("CPU time", f"{took:.1f} s"),
    ):
        table.add_row(name, value)
    figures = [
        Figure("fairness of a day", "", [found.fairness], at_least=0.99, is_ratio=False),
        Figure("used in a day", "", [found.used], at_least=0.99, is_ratio=False),
        Figure("429s in a day", "", [float(found.refused)], is_ratio=False),
        Figure("CPU time of a day", "s", [took], at_most=60.0, is_ratio=False),
    ]
    return table, figures


def permits() -> list[Figure]:
    """Return figures for the cost of a permit."""
    click.echo("permits ...", err=True)
    free, few, many = list[float](), list[float](), list[float]()
    for _ in range(_ROUNDS):
        free.append(cost_of_free_us())
        few.append(cost_of_waiting_us(_FEW))
        many.append(cost_of_waiting_us(_MANY))
    return [
        Figure("a permit that waits for nothing", "us", free, at_most=5.0, is_ratio=False),
        Figure(f"a permit, {_MANY:,} waiting", "us", many, f"{_FEW} waiting", few, at_most=1.5),
    ]


@click.command()
@click.option("--requests", type=click.IntRange(20), default=300, show_default=True)
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="Run only this part.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
def main(*, requests: int, only: Sequence[str], check: bool) -> None:
    """Measure the rate limiter and its alternatives."""
    tables: list[Table] = []
    figures: list[Figure] = []
    notes: list[str] = []
    if not only or "permits" in only:
        figures += permits()
    if not only or "day" in only:
        table, found = day()
        tables.append(table)
        figures += found
    if not only or "sockets" in only:
        try:
            table, found, notes = sockets(requests)
        except subprocess.CalledProcessError as error:
            raise click.ClickException(f"{' '.join(error.cmd[-6:])} failed") from error
        tables.append(table)
        figures += found
    print_tables([*tables, figures_table(figures)], notes)
    if check and any(figure.has_target and not figure.is_reached for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
