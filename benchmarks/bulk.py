"""Compare ways to send a file of requests to a fast provider.

    python benchmarks/bulk.py [--rows 100000] [--quick] [--only callsheet] [--json]

The contenders run one after another over the same file, each in its own process, against a provider
in another process. aiohttp, which the cookbook's pattern needs, and LangChain are in the dependency
group "bench"; contenders that are not installed are left out. To measure 1,000,000 rows, use
`--rows 1000000 --only callsheet`.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import attrs
import click

from bench_kit.processes import module_command, module_environment, run_module
from bench_kit.report import make_table, print_tables
from bulk_bench.contender import IN_FLIGHT, Measured, write_rows

_QUICK_ROWS = 10_000
_LATENCY_MS = 20
_CONTENDERS = {  # {name: module, mode}
    "callsheet": ("bulk_bench.ours", "full"),
    "callsheet, fsync normal": ("bulk_bench.ours", "normal"),
    "callsheet, fsync off": ("bulk_bench.ours", "off"),
    "cookbook's pattern (aiohttp)": ("bulk_bench.cookbook", ""),
    "httpx and a limiter": ("bulk_bench.plain", str(IN_FLIGHT)),
    "httpx and a limiter, 20 in flight": ("bulk_bench.plain", "20"),
    "LangChain's batch": ("bulk_bench.langchain", ""),
}
_NEEDS = {"bulk_bench.cookbook": "aiohttp", "bulk_bench.langchain": "langchain_openai"}


@contextmanager
def _provider() -> Generator[str]:
    command = module_command("http_bench.provider", "--latency-ms", str(_LATENCY_MS))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=module_environment()
    ) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def measure(names: Sequence[str], rows: int) -> Iterator[tuple[str, Measured]]:
    """Measure each contender with all rows and an output file of its own.

    Args:
        names: keys of `_CONTENDERS`.
        rows: number of rows in the input.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        write_rows(source, rows)
        for number, name in enumerate(names):
            module, mode = _CONTENDERS[name]
            output = Path(folder) / f"out-{number}.jsonl"
            with _provider() as base_url:
                said = run_module(module, base_url, str(source), str(output), mode)
            yield name, Measured(**json.loads(said))


def _is_installed(module: str) -> bool:
    needed = _NEEDS.get(module)
    return needed is None or find_spec(needed) is not None


def _row(name: str, run: Measured) -> tuple[str, ...]:
    middle = run.resident[len(run.resident) // 2]
    megabytes = (f"{value / 1024**2:,.0f}" for value in (middle, max(run.resident)))
    return (
        name,
        f"{run.rows:,}",
        f"{run.rows / run.wall_s:,.0f}",
        f"{run.cpu_s / run.rows * 1e6:,.0f} us",
        *megabytes,
    )


@click.command()
@click.option("--rows", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--quick", is_flag=True, help="Measure 10,000 rows.")
@click.option("--only", type=click.Choice(list(_CONTENDERS)), multiple=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Print all values as JSON, with memory over time."
)
def main(*, rows: int, quick: bool, only: Sequence[str], as_json: bool) -> None:
    """Measure a file of requests with Callsheet and with the alternatives."""
    load = os.getloadavg()[0]
    names = [name for name in _CONTENDERS if not only or name in only]
    names = [name for name in names if _is_installed(_CONTENDERS[name][0])]
    measured: dict[str, Measured] = {}
    for name, run in measure(names, _QUICK_ROWS if quick else rows):
        click.echo(f"{name}: {run.rows / run.wall_s:,.0f} rows/s", err=True)
        measured[name] = run
    if as_json:
        click.echo(json.dumps({name: attrs.asdict(run) for name, run in measured.items()}))
        return
    table = make_table(
        ["contender"], ["rows", "rows/s", "CPU per row", "MiB half-way", "MiB, peak"]
    )
    for name, run in measured.items():
        table.add_row(*_row(name, run))
    about = (
        f"The provider responds after {_LATENCY_MS} ms. {IN_FLIGHT} calls are in flight, except in "
        "the cookbook's pattern, which has no such limit, and in a second run of httpx with 20, "
        "whose pool takes less time. Only callsheet keeps the order of rows and can resume a run."
    )
    print_tables(
        [table], [about, f"Other processes used {load:.1f} cores when the benchmark started."]
    )


if __name__ == "__main__":
    main()
