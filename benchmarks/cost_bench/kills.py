"""Kill a client while the provider works, run the same again, and read what the provider bills."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import attrs
import httpx
import trio

from bench_kit.processes import module_command, module_environment
from callsheet import Request
from callsheet.compare.execution import write_body
from callsheet.compare.workloads import make_workload
from cost_bench.autobatcher_client import AUTOBATCHER, Autobatcher
from cost_bench.provider import read_bill, reset, running_provider

__all__ = ["KillFigures", "kills"]

_ROWS = 200
_SCALE = 0.1
_BATCH_TIME = "30-30"  # seconds
_LOOK_S = 0.05
_ENDS = {"completed", "failed", "expired", "cancelled"}


@attrs.frozen
class KillFigures:
    """What the provider bills for the reviews in batches, a call each.

    Args:
        once: the cost in USD of one run that nothing disturbs.
        twice: the cost in USD of a run that is killed while the provider works, and of the next.
        answers: number of answers of the next run.
    """

    once: Decimal
    twice: Decimal
    answers: int


async def kills(python: str) -> dict[str, KillFigures]:
    """Measure autobatcher in its ways, and `callsheet run`.

    Args:
        python: an interpreter that has autobatcher.
    """
    items = make_workload("reviews").items[:_ROWS]
    requests = [
        attrs.evolve(item, packable=False, cacheable=False)
        for item in items
        if isinstance(item, Request)
    ]
    found: dict[str, KillFigures] = {}
    async with running_provider(_SCALE, "--batch-time", _BATCH_TIME) as base_url:
        for title, settings in AUTOBATCHER.items():
            opened = partial(Autobatcher.open, python, base_url, settings, _SCALE)
            found[title] = await _autobatcher(opened, base_url, requests)
        found["callsheet run --route batch"] = await _callsheet(base_url, requests)
    return found


async def _autobatcher(
    opened: Callable[[], AbstractAsyncContextManager[Autobatcher]],
    base_url: str,
    requests: list[Request],
) -> KillFigures:
    async def run(*, is_killed: bool) -> int:
        answers, before = 0, await _taken(base_url)
        async with opened() as client, trio.open_nursery() as nursery:

            async def ask(request: Request) -> None:
                nonlocal answers
                await client.ask(request)
                answers += 1

            for request in requests:
                nursery.start_soon(ask, request)
            if is_killed:
                await _taken_all(base_url, before)
                client.kill()
                nursery.cancel_scope.cancel()
        return answers

    return await _measure(base_url, run)


async def _callsheet(base_url: str, requests: list[Request]) -> KillFigures:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "reviews.jsonl"), Path(folder, "labels.jsonl")
        lines = [json.dumps(write_body(request)) + "\n" for request in requests]
        await trio.Path(source).write_text("".join(lines), encoding="utf-8")
        command = module_command("callsheet", "run", str(source), str(output), "--route", "batch")
        command += ["--provider", "openai", "--base-url", base_url]
        command += ["--ledger", str(Path(folder, "ledger.db"))]
        environment = {**module_environment(), "OPENAI_API_KEY": "sk-benchmark"}

        async def run(*, is_killed: bool) -> int:
            before = await _taken(base_url)
            process = await trio.lowlevel.open_process(
                command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment
            )
            if is_killed:
                await _taken_all(base_url, before)
                process.kill()
                await process.wait()
                return 0
            if status := await process.wait():
                raise RuntimeError(f"{' '.join(command)} exited with {status}")
            answers = await trio.Path(output).read_text(encoding="utf-8")
            await trio.to_thread.run_sync(_empty, Path(folder), source)
            return len(answers.splitlines())

        return await _measure(base_url, run)


class _Run(Protocol):
    """Runs all requests, and returns the number of answers."""

    async def __call__(self, *, is_killed: bool) -> int:
        """Run them; kill the client as soon as the provider has taken all, if `is_killed`."""
        ...


async def _measure(base_url: str, run: _Run) -> KillFigures:
    await reset(base_url)
    await run(is_killed=False)
    once = await _settled_usd(base_url)
    await reset(base_url)
    await run(is_killed=True)
    answers = await run(is_killed=False)
    return KillFigures(once, await _settled_usd(base_url), answers)


def _empty(folder: Path, kept: Path) -> None:
    """Remove the files of a finished run, so that the next one begins anew."""
    for path in folder.iterdir():
        if path != kept:
            path.unlink()


async def _batches(base_url: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False) as control:
        found = (await control.get(f"{base_url}/batches?limit=100")).json()
    return cast("list[dict[str, Any]]", found["data"])


async def _taken(base_url: str) -> int:
    """Return how many requests the provider has taken, one by one and in batches."""
    counts = [batch["request_counts"] for batch in await _batches(base_url)]
    return sum(int(found["total"]) for found in counts) + (await read_bill(base_url)).requests


async def _taken_all(base_url: str, before: int) -> None:
    while await _taken(base_url) < before + _ROWS:  # noqa: ASYNC110 - seen from outside
        await trio.sleep(_LOOK_S)


async def _settled_usd(base_url: str) -> Decimal:
    """Return the bill in USD when no batch runs any more."""
    while True:
        if {batch["status"] for batch in await _batches(base_url)} <= _ENDS:
            return (await read_bill(base_url)).usd
        await trio.sleep(_LOOK_S)
