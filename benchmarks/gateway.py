"""Measure the gateway beside a bare app that only forwards, and beside LiteLLM's proxy.

    python benchmarks/gateway.py [--rounds 3] [--only cases|fair|memory] [--json] [--check]

All servers forward to `callsheet simulate`, which is a process of its own, as are the clients. In
each case the servers stay alive and take turns in shuffled order, and a ratio compares windows of
the same round. CPU time is that of all processes of a server.

LiteLLM is measured if its command is found: install it into an environment of its own with

    uv venv litellm && uv pip install -p litellm 'litellm[proxy]' prometheus_client

and pass ``--litellm litellm/bin/litellm``.
"""

import json
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import click

from bench_kit.figures import Figure
from bench_kit.processes import run_module
from bench_kit.report import figures_table, print_tables
from gateway_bench.fairness import fairness_figures
from gateway_bench.load import Window
from gateway_bench.memory import memory_figures
from gateway_bench.processes import Server
from gateway_bench.sides import BARE, GATEWAY, LITELLM, PLAIN, names_of, open_provider, open_side

_ABOUT = (
    "Medians of the rounds; a ratio has the smallest and the largest in brackets. The gateway has "
    "keys, budgets, a ledger on disk and metrics; LiteLLM has one key and metrics, and neither "
    "budgets nor a database. The bare app has none of these: the gateway without keys and ledger "
    "is what compares with it. Added latency is that beyond the provider's."
)
_SATURATED = 0.9  # of the calls that are offered
_MIB = 2**20


@attrs.frozen
class Case:
    """A number of clients with one kind of call.

    Args:
        clients: number of clients.
        provider_s: seconds that the provider takes, so that 100 calls a second are offered, or 20
            by a single client.
        window_s: the length of a window in seconds.
        streams: whether they request streams.
        max_tokens: the bound on a response; None for none.
    """

    clients: int
    provider_s: float
    window_s: float
    streams: bool = False
    max_tokens: int | None = 200

    @property
    def title(self) -> str:
        """What is measured, for the table."""
        kind = "streamed" if self.streams else "whole"
        unbounded = ", no max_tokens" if self.max_tokens is None else ""
        return f"{self.clients:,} client{'s' * (self.clients > 1)}, {kind}{unbounded}"


_SIZES = ((1, 0.05, 4.0), (100, 1.0, 6.0), (1_000, 10.0, 15.0))

CASES = (
    *(Case(*size, streams=streams) for size in _SIZES for streams in (False, True)),
    Case(100, 1.0, 6.0, max_tokens=None),
)


def measure(
    case: Case, rounds: int, litellm: Path | None, folder: Path
) -> Mapping[str, Sequence[Window]]:
    """Measure each server once in every round, in shuffled order.

    Args:
        case: what is measured.
        rounds: windows of each server.
        litellm: the command of LiteLLM's proxy; None to leave it out.
        folder: for files of the servers.
    """
    names = [*names_of(litellm)]
    found: dict[str, list[Window]] = {name: [] for name in names}
    chance = random.Random(0)  # noqa: S311  # the order is no secret
    with ExitStack() as stack:
        provider = stack.enter_context(open_provider(folder, case.provider_s))
        servers = {
            name: stack.enter_context(open_side(name, folder, provider, litellm)) for name in names
        }
        for _ in range(rounds):
            chance.shuffle(names)
            for name in names:
                found[name].append(window_of(servers[name], case))
    return found


def window_of(server: Server, case: Case) -> Window:
    """Measure one window.

    Args:
        server: the server that is called.
        case: what is measured.
    """
    options = [
        *("--url", server.url, "--clients", str(case.clients)),
        *("--provider-s", str(case.provider_s), "--window-s", str(case.window_s)),
        *("--warm-up-s", str(1.5 * case.provider_s + 1.0)),
        *(["--streams"] if case.streams else []),
        *([] if case.max_tokens is None else ["--max-tokens", str(case.max_tokens)]),
    ]
    options += [part for key in server.keys for part in ("--key", key)]
    options += [part for pid in server.pids for part in ("--pid", str(pid))]
    return Window(**json.loads(run_module("gateway_bench.load", *options)))


def figures_of(case: Case, found: Mapping[str, Sequence[Window]]) -> Iterator[Figure]:
    """Return the figures of a case.

    Args:
        case: what was measured.
        found: the windows of each server.
    """

    def values(name: str, field: str, unit: float) -> list[float]:
        return [getattr(window, field) * unit for window in found[name]]

    ours = values(GATEWAY, "cpu_ms", 1.0)
    bare = values(BARE, "cpu_ms", 1.0)
    plain = values(PLAIN, "cpu_ms", 1.0)
    bound = 1.6 if case.max_tokens is not None else None
    cpu = f"{case.title}: CPU per call"
    yield Figure(f"{cpu}, without keys and ledger", "ms", plain, BARE, bare, at_most=bound)
    yield Figure(cpu, "ms", ours, BARE, bare)
    others = [name for name in (BARE, LITELLM) if name in found]
    if LITELLM in found:
        theirs = values(LITELLM, "cpu_ms", 1.0)
        yield Figure(cpu, "ms", ours, LITELLM, theirs, at_most=1 / 8)
    for title, field, unit, scale in (
        ("added latency, p50", "added_p50_s", "ms", 1e3),
        ("added latency, p99", "added_p99_s", "ms", 1e3),
        ("memory", "resident_bytes", "MiB", 1 / _MIB),
    ):
        mine = values(GATEWAY, field, scale)
        for name in others:
            yield Figure(f"{case.title}: {title}", unit, mine, name, values(name, field, scale))


def notes_on(case: Case, found: Mapping[str, Sequence[Window]]) -> Iterator[str]:
    """Return what else a reader should know: failed calls, and servers that did not keep up.

    Args:
        case: what was measured.
        found: the windows of each server.
    """
    offered = case.clients / case.provider_s
    for name, windows in found.items():
        rate = min(window.calls / window.wall_s for window in windows)
        if case.clients > 1 and rate < _SATURATED * offered:
            yield f"{case.title}: {name} served {rate:.0f} of {offered:.0f} calls a second."
        failures = [window.failures for window in windows if window.failures]
        if failures:
            yield f"{case.title}: calls to {name} failed: {failures}"


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--litellm",
    type=click.Path(path_type=Path),
    default=shutil.which("litellm"),
    help="The command of LiteLLM's proxy.  [default: that on the path]",
)
@click.option(
    "--only",
    "parts",
    type=click.Choice(["cases", "fair", "memory"]),
    multiple=True,
    help="Measure only this; can be given again.",
)
@click.option("--clients", type=int, multiple=True, help="Only the cases with so many clients.")
@click.option("--calls", type=click.IntRange(1_000), default=100_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print all values instead of the table.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
def main(
    *,
    rounds: int,
    litellm: Path | None,
    parts: Sequence[str],
    clients: Sequence[int],
    calls: int,
    as_json: bool,
    check: bool,
) -> None:
    """Measure the gateway beside a bare app and LiteLLM's proxy."""
    figures: list[Figure] = []
    notes = [_ABOUT]
    if litellm is None:
        notes.append("litellm is not installed and is left out; see --litellm.")
    with TemporaryDirectory() as root:
        for number, case in enumerate(CASES):
            if (parts and "cases" not in parts) or (clients and case.clients not in clients):
                continue
            click.echo(f"{case.title} ...", err=True)
            folder = Path(root, str(number))
            folder.mkdir()
            found = measure(case, rounds, litellm, folder)
            figures += figures_of(case, found)
            notes += notes_on(case, found)
        if not parts or "fair" in parts:
            click.echo("20 tenants at a limit ...", err=True)
            figures += fairness_figures(Path(root))
        if not parts or "memory" in parts:
            click.echo(f"{calls:,} calls ...", err=True)
            figures += memory_figures(Path(root), calls)
    if as_json:
        click.echo(json.dumps([figure.as_dict() for figure in figures], indent=2))
    else:
        print_tables([figures_table(figures)], notes)
    if check and any(figure.has_target and not figure.is_reached for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
