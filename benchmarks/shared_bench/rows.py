"""Rows a second of `callsheet run --workers 2`, beside what two cores could do at its CPU a row."""

import json
import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import attrs
import click

from bench_kit.figures import Figure
from bench_kit.processes import cpu_s_of, module_command, module_environment
from bulk_bench.contender import write_rows
from shared_bench.server import PrivateServer

__all__ = ["rows"]

_ROWS = 20_000
_FIRST, _LAST = 0.2, 0.9  # the part of the rows in which rows are counted
_WORKERS, _CORES = 2, 2
_IN_FLIGHT = 200
_LATENCY_S = 0.05
_LOOK_S = 0.1
_LATE_S = 120.0
_BUSY_CORES = 0.1  # used by other programs, so that the figure says nothing


@attrs.frozen
class _Look:
    """The state at one moment: rows that the provider has taken, and CPU seconds until then."""

    at: float
    rows: int
    holder_s: float
    workers_s: float
    server_s: float
    provider_s: float
    machine_s: float

    @property
    def sum_s(self) -> float:
        return self.holder_s + self.workers_s + self.server_s + self.provider_s


def rows(server: PrivateServer) -> list[Figure]:
    """Measure one run, and return its figures."""
    click.echo(f"{_ROWS:,} rows with {_WORKERS} workers ...", err=True)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        write_rows(source, _ROWS)
        first, last = _measured(server, source, output)
        with output.open("rb") as lines:
            written = sum(1 for _ in lines)
    if written != _ROWS:
        raise RuntimeError(f"OUTPUT has {written:,} rows, not {_ROWS:,}")
    count, seconds = last.rows - first.rows, last.at - first.at
    each_s = (last.sum_s - first.sum_s) / count
    others = (last.machine_s - first.machine_s - (last.sum_s - first.sum_s)) / seconds
    busy = f"others used {others:.1f} cores" if others > _BUSY_CORES else ""

    def us(name: str) -> float:
        used: float = getattr(last, name) - getattr(first, name)
        return used / count * 1e6

    title = f"run --workers {_WORKERS}: "
    return [
        Figure(
            f"{title}rows a second",
            "",
            [count / seconds],
            "by CPU a row",
            [_CORES / each_s],
            at_least=0.85,
            why_invalid=busy,
        ),
        *(
            Figure(f"{title}CPU a row, {name}", "us", [us(field)], is_ratio=False)
            for name, field in (
                ("holder and first worker", "holder_s"),
                ("other workers", "workers_s"),
                ("server", "server_s"),
                ("provider", "provider_s"),
            )
        ),
        Figure(f"{title}cores used by others", "", [others], is_ratio=False),
    ]


def _measured(server: PrivateServer, source: Path, output: Path) -> tuple[_Look, _Look]:
    scale = ("--latency", f"{_LATENCY_S}-{_LATENCY_S}")
    simulate = module_command("callsheet", "simulate", "--port", "0", *scale)
    environment = {**module_environment(), "OPENAI_API_KEY": "sk-benchmark"}
    with subprocess.Popen(simulate, stdout=subprocess.PIPE, text=True, env=environment) as provider:
        try:
            base_url = provider.stdout.readline().strip() if provider.stdout else ""
            options = ["--provider", "openai", "--base-url", base_url, "--shared", server.url]
            options += ["--workers", str(_WORKERS), "--max-concurrency", str(_IN_FLIGHT)]
            options += ["--ledger", str(output.with_name("ledger.db")), "--route", "live"]
            command = module_command("callsheet", "run", str(source), str(output), *options)
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            ) as run:
                try:
                    return _looks(run, provider.pid, server.pid, base_url)
                finally:
                    run.kill()
        finally:
            provider.kill()


def _looks(
    run: "subprocess.Popen[bytes]", provider: int, server: int, base_url: str
) -> tuple[_Look, _Look]:
    """Look when the first and the last part of the rows is sent, then wait for the end."""

    def look() -> _Look:
        return _Look(
            at=time.monotonic(),
            rows=_requests(base_url),
            holder_s=cpu_s_of(run.pid),
            workers_s=sum(map(cpu_s_of, _below(run.pid))),
            server_s=cpu_s_of(server),
            provider_s=cpu_s_of(provider),
            machine_s=_machine_s(),
        )

    found: list[_Look] = []
    for share in (_FIRST, _LAST):
        while _requests(base_url) < share * _ROWS:
            if run.poll() is not None:
                raise RuntimeError(f"callsheet run ended early: {_said(run)}")
            time.sleep(_LOOK_S)
        found.append(look())
    said = _said(run)
    if run.returncode:
        raise RuntimeError(f"callsheet run failed: {said}")
    return found[0], found[1]


def _said(run: "subprocess.Popen[bytes]") -> str:
    """Wait for the end of the run, and return the end of its messages."""
    _, errors = run.communicate(timeout=_LATE_S)
    return errors.decode()[-2_000:]


def _requests(base_url: str) -> int:
    """Return how many requests the provider has taken."""
    address = f"{base_url.removesuffix('/v1')}/callsheet/stats"
    with urllib.request.urlopen(address) as response:  # noqa: S310  # of this machine
        taken: int = json.load(response)["requests"]
    return taken


def _below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_below(child)]
    return found


def _machine_s() -> float:
    """Return the CPU seconds that all processes of the machine have used, but for idling."""
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
