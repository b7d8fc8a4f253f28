"""Run one contender in its own process.

    python -m limits_bench.client set http://127.0.0.1:8000/v1 --requests 300

prints as JSON the time at which each accepted request was sent, in seconds of the monotonic clock.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Literal

import attrs
import click
import trio

from limits_bench.calls import Chat, Run, chats

__all__ = ["CONTENDERS", "Contender", "main"]


@attrs.frozen
class Contender:
    """One contender.

    Args:
        title: the title for the table.
        module: its module in this package; imported only in the process that runs it.
        function: the function of the module that sends the chats.
        loop: the event loop that it runs on.
        package: the package that must be installed.
    """

    title: str
    module: str
    function: str = "run"
    loop: Literal["trio", "asyncio"] = "trio"
    package: str = "callsheet"


CONTENDERS: Mapping[str, Contender] = {
    "set": Contender("callsheet, limits set", "ours", "set_"),
    "told": Contender("callsheet, limits from headers", "ours", "told"),
    "found": Contender("callsheet, limits found by trying", "ours", "found"),
    "aiolimiter": Contender("aiolimiter", "aiolimiter_way", "run", "asyncio", "aiolimiter"),
    "openai": Contender("OpenAI SDK, 50 at a time", "openai_way", "run", "asyncio", "openai"),
    "backoff": Contender("back-off, 50 at a time", "backoff"),
}


@click.command()
@click.argument("name", type=click.Choice(list(CONTENDERS)))
@click.argument("base_url")
@click.option("--requests", type=click.IntRange(1), required=True)
@click.option("--seed", type=int, default=0, help="Seed of the chats.")
def main(name: str, base_url: str, *, requests: int, seed: int) -> None:
    """Send the chats, and print the results as JSON."""
    contender = CONTENDERS[name]
    run: Run = getattr(import_module(f"limits_bench.{contender.module}"), contender.function)
    todo, went = chats(requests, seed), list[float]()
    if contender.loop == "asyncio":
        given_up = asyncio.run(_awaited(run, base_url, todo, went))
    else:
        given_up = trio.run(_on_one_clock, run, base_url, todo, went)
    print(json.dumps({"sent": went, "given_up": given_up}))


async def _awaited(run: Run, base_url: str, todo: list[Chat], went: list[float]) -> int:
    return await run(base_url, todo, went.append)


async def _on_one_clock(run: Run, base_url: str, todo: list[Chat], went: list[float]) -> int:
    """Run on Trio, and convert its times, which start anywhere, to the monotonic clock."""
    ahead = time.monotonic() - trio.current_time()

    def sent(at: float) -> None:
        went.append(at + ahead)

    return await run(base_url, todo, sent)


if __name__ == "__main__":
    main()
