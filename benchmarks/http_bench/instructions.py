"""Count the instructions of a call, in user space, over streams in memory.

    python -m http_bench.instructions callsheet --calls 600 --in-segments

makes the calls. `count_instructions` runs it under Valgrind for two numbers of calls; the
difference contains neither imports nor the opening of the client. Repeated counts differ by 0.5 %,
on however busy a machine.
"""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from typing import final

import click
import trio

from bench_kit.processes import module_command, module_environment
from callsheet.actors.http import LeanTransport
from callsheet.actors.http.streams import QuickStream
from http_bench import callsheet_way
from http_bench.answers import SEGMENTS, response_to
from http_bench.bare_way import H11Parser, LlhttpParser, Parser, Pool
from http_bench.call import LONG_TOKENS, SHORT_TOKENS, Ask, Target
from http_bench.contenders import BARE, LLHTTP, OURS

__all__ = ["can_count", "count_instructions"]

_BASE_URL = "http://127.0.0.1:1/v1"  # no connection is made
_IN_FLIGHT = 20
_FEW, _MANY = 100, 500  # calls
_VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_COUNTED = re.compile(rb"I\s+refs:\s+([\d,]+)")
_PARSERS: Mapping[str, Callable[[], Parser]] = {BARE: H11Parser, LLHTTP: LlhttpParser}


def can_count() -> bool:
    """Return whether Valgrind is installed."""
    return shutil.which("valgrind") is not None


def count_instructions(contender: str, *, is_long: bool, in_segments: bool) -> float:
    """Return the instructions of a call.

    Args:
        contender: `OURS`, `BARE` or `LLHTTP`.
        is_long: whether the requests allow long responses.
        in_segments: whether a streamed response arrives in segments.
    """
    options = [*(["--long"] if is_long else []), *(["--in-segments"] if in_segments else [])]
    few, many = (_count(contender, "--calls", f"{calls}", *options) for calls in (_FEW, _MANY))
    return (many - few) / (_MANY - _FEW)


def _count(*arguments: str) -> int:
    valgrind = [
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
    ]
    result = subprocess.run(
        [*valgrind, *module_command("http_bench.instructions", *arguments)],
        check=True,
        stderr=subprocess.PIPE,
        env={**module_environment(), "PYTHONHASHSEED": "0"},
    )
    found = _COUNTED.search(result.stderr)
    if found is None:
        raise RuntimeError(f"Valgrind printed no count: {result.stderr.decode()}")
    return int(found[1].replace(b",", b""))


@final
class StillClock(trio.abc.Clock):
    """A clock that stands still, because under Valgrind a call takes fifty times as long."""

    def start_clock(self) -> None:
        """Do nothing."""

    def current_time(self) -> float:
        """Return the same time always."""
        return 1_000.0

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return the time until a deadline."""
        return deadline - 1_000.0


@final
class MemoryStream(QuickStream):
    """A connection to a provider in memory.

    Args:
        in_segments: whether streamed responses are received in segments.
    """

    def __init__(self, *, in_segments: bool) -> None:
        super().__init__(socket.socket(), bytearray())  # they are not used
        self._in_segments = in_segments
        self._left: list[bytes] = []

    def send_now(self, data: bytes | memoryview) -> memoryview:
        """Receive a whole request."""
        response = response_to(bytes(data))
        is_divided = self._in_segments and b"chunked" in response
        self._left = [*reversed(SEGMENTS)] if is_divided else [response]
        return memoryview(b"")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Receive a whole request."""
        self.send_now(memoryview(data))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002  # fits
        """Return the next segment, in the next round of Trio's loop."""
        await trio.lowlevel.checkpoint()
        return self._left.pop()

    def is_quiet(self) -> bool:
        """See `QuickStream`."""
        return not self._left


async def _make_calls(contender: str, calls: int, *, is_long: bool, in_segments: bool) -> None:
    target = Target(_BASE_URL, _IN_FLIGHT, None, LONG_TOKENS if is_long else SHORT_TOKENS)

    async def open_stream(*_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return MemoryStream(in_segments=in_segments)

    async def ask_all(ask: Ask) -> None:
        left = iter(range(calls))

        async def keep_asking() -> None:
            for _ in left:
                await ask()

        async with trio.open_nursery() as nursery:
            for _ in range(_IN_FLIGHT):
                nursery.start_soon(keep_asking)

    if contender == OURS:
        transport = LeanTransport(max_connections=_IN_FLIGHT, open_stream=open_stream)
        async with callsheet_way.open_client(target, transport) as ask:
            await ask_all(ask)
    else:
        await ask_all(Pool(target, _PARSERS[contender], open_stream).ask)


@click.command()
@click.argument("contender", type=click.Choice([OURS, *_PARSERS]))
@click.option("--calls", type=click.IntRange(1), required=True)
@click.option("--long", "is_long", is_flag=True, help="Allow long responses.")
@click.option("--in-segments", is_flag=True, help="Receive streamed responses in segments.")
def main(contender: str, *, calls: int, is_long: bool, in_segments: bool) -> None:
    """Make calls over streams in memory."""

    async def run() -> None:
        await _make_calls(contender, calls, is_long=is_long, in_segments=in_segments)

    trio.run(run, clock=StillClock())


if __name__ == "__main__":
    main()
