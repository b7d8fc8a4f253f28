"""Measure calls through `callsheet.aio`, beside the same troupe called from Trio.

    python benchmarks/aio.py [--rounds 10] [--json] [--check]

The OpenAI SDK, of the dependency group "bench", makes the same calls in the same run. Each client
is a process that stays alive; they take turns in shuffled order, against a provider that uses
little CPU time, and a ratio compares windows of the same round. CPU time is that of the whole
client, so the Trio thread under the door counts as well as the event loop.
"""

import json
import random
import statistics
import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import click

from aio_bench.client import Stretch
from aio_bench.floor import wake_up_us
from aio_bench.ways import AIO, OPENAI, TRIO
from bench_kit.figures import Figure
from bench_kit.processes import next_answer, open_answering
from bench_kit.report import figures_table, print_tables
from http_bench.cells import open_provider

_ABOUT = (
    "Medians of the rounds; a ratio has the smallest and the largest in brackets. A stream has 8 "
    "pieces. Pieces that come together are in one segment of the connection; others come 20 ms "
    "apart, so that each wakes the client by itself."
)

_SDK_ROUNDS = 3  # it takes ten times as long, and has no target


@attrs.frozen
class Case:
    """One line of the table.

    Args:
        title: what is measured.
        subject: the kind of provider, a key of `SUBJECTS`.
        in_flight: number of concurrent calls.
        at_most: the most CPU time, as a multiple of that of a call from Trio.
        added_us: the most CPU time of a piece beyond that under Trio, in microseconds.
    """

    title: str
    subject: str
    in_flight: int
    at_most: float | None = None
    added_us: float | None = None

    @property
    def streams(self) -> bool:
        """Whether the calls read pieces."""
        return self.subject != "waiting"


CASES = (
    Case("CPU per call, 50 in flight", "waiting", 50, at_most=1.15),
    Case("CPU per call, 500 in flight", "waiting", 500, at_most=1.15),
    Case("CPU per stream, pieces together, 50 in flight", "stream", 50, at_most=1.5),
    Case("CPU per piece, 20 ms apart, 1 in flight", "paced", 1, added_us=100.0),
    Case("CPU per piece, 20 ms apart, 50 in flight", "paced", 50, added_us=100.0),
)


def measure(case: Case, ways: Sequence[str], rounds: int) -> Mapping[str, Sequence[Stretch]]:
    """Measure each way once in every round, in shuffled order.

    Args:
        case: what is measured.
        ways: keys of `WAYS`.
        rounds: windows of each way.
    """
    found: dict[str, list[Stretch]] = {name: [] for name in ways}
    order, chance = [*ways], random.Random(0)  # noqa: S311  # the order is no secret
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        provider = stack.enter_context(open_provider(case.subject, folder))
        clients = {
            name: stack.enter_context(_open_client(name, provider.base_url, case)) for name in ways
        }
        for number in range(rounds + 1):
            chance.shuffle(order)
            for name in order:
                if name == OPENAI and number > _SDK_ROUNDS:
                    continue
                stretch = _next_stretch(clients[name])
                if number:  # the first round connects, and fills caches
                    found[name].append(stretch)
    return found


@contextmanager
def _open_client(name: str, base_url: str, case: Case) -> Generator["subprocess.Popen[str]"]:
    options = ["--in-flight", str(case.in_flight), *(["--streams"] if case.streams else [])]
    with open_answering("aio_bench.client", name, base_url, *options) as process:
        yield process


def _next_stretch(client: "subprocess.Popen[str]") -> Stretch:
    return Stretch(**json.loads(next_answer(client)))


def figures_of(case: Case, found: Mapping[str, Sequence[Stretch]]) -> Iterator[Figure]:
    """Return the figures of a case: ours beside Trio's, and beside those of the SDK.

    Args:
        case: what was measured.
        found: the windows of each way.
    """
    is_of_pieces = case.added_us is not None

    def values(name: str) -> list[float]:
        return [one.piece_us if is_of_pieces else one.cpu_us for one in found[name]]

    ours, trios = values(AIO), values(TRIO)
    yield Figure(case.title, "us", ours, TRIO, trios, at_most=case.at_most)
    if case.added_us is not None:
        added = [mine - other for mine, other in zip(ours, trios, strict=True)]
        yield Figure(f"{case.title}, added", "us", added, at_most=case.added_us, is_ratio=False)
    if OPENAI in found:
        theirs = values(OPENAI)
        yield Figure(case.title, "us", ours[: len(theirs)], OPENAI, theirs)


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print all values instead of the table.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
def main(*, rounds: int, as_json: bool, check: bool) -> None:
    """Measure calls from asyncio beside calls from Trio."""
    ways, notes = [TRIO, AIO], [_ABOUT]
    if find_spec("openai") is None:
        notes.append("openai is not installed and is left out.")
    else:
        ways.append(OPENAI)
    figures: list[Figure] = []
    for case in CASES:
        click.echo(f"{case.title} ...", err=True)
        figures += figures_of(case, measure(case, ways, rounds))
    notes.append(
        f"A thread that wakes an event loop every 20 ms and does nothing else takes "
        f"{statistics.median(wake_up_us() for _ in range(5)):,.0f} us of CPU time each time on "
        "this machine: no door can add less to a piece that comes alone."
    )
    if as_json:
        click.echo(json.dumps([figure.as_dict() for figure in figures], indent=2))
    else:
        print_tables([figures_table(figures)], notes)
    if check and any(figure.has_target and not figure.is_reached for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
