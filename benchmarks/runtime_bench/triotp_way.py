"""Measure TriOTP: a gen_server in a node, with calls and casts.

It has no type hints, and its requirements conflict with a current Trio, so it is imported by name.
"""

from collections.abc import Awaitable, Callable
from importlib import import_module
from types import ModuleType
from typing import TypeVar

import trio
import trio.testing

from bench_kit.sampling import cpu_s, settle
from runtime_bench.callers import time_callers
from runtime_bench.echo import ECHO, Echo, check
from runtime_bench.libraries import TellCost

__all__ = ["call", "cast"]

T = TypeVar("T")

_TIMEOUT_S = 10.0

_application, _gen_server, _node = (
    import_module(f"triotp.{name}") for name in ("application", "gen_server", "node")
)


async def _init(_: object) -> None:
    """Return no state."""


async def _handle_call(message: Echo, _: object, state: None) -> tuple[object, None]:
    return _gen_server.Reply(message.number), state


async def _handle_cast(_: object, state: None) -> tuple[object, None]:
    return _gen_server.NoReply(), state


class _Server(ModuleType):
    """A TriOTP server: a module with these functions."""

    init = staticmethod(_init)
    handle_call = staticmethod(_handle_call)
    handle_cast = staticmethod(_handle_cast)


def _in_node(measure: Callable[[], Awaitable[T]]) -> T:
    """Run a measurement beside a server in its own node."""
    results: list[T] = []
    application = ModuleType("bench")

    async def start(_: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_gen_server.start, _Server("server"), None, "server")
            await trio.testing.wait_all_tasks_blocked()  # it has registered its name
            results.append(await measure())
            nursery.cancel_scope.cancel()

    vars(application)["start"] = start
    _node.run([_application.app_spec(application, None, permanent=False)])
    return results[0]


def call(callers: int, asks: int) -> float:
    """Return the seconds per call with a timeout, with concurrent callers."""

    async def ask(times: int) -> None:
        answer: object = None
        for _ in range(times):
            answer = await _gen_server.call("server", ECHO, timeout=_TIMEOUT_S)
        check(answer)

    return _in_node(lambda: time_callers(lambda: ask, callers, asks))


def cast(messages: int) -> TellCost:
    """Return the seconds per cast message; the sender cannot run ahead of the handler."""

    async def measure() -> TellCost:
        for count in (messages // 10, messages):  # the first is the warm-up
            settle()
            start = cpu_s()
            for _ in range(count):
                await _gen_server.cast("server", ECHO)
            sent = cpu_s()
            await _gen_server.call("server", ECHO)
            end = cpu_s()
        return TellCost((sent - start) / messages, (end - sent) / messages)

    return _in_node(measure)
