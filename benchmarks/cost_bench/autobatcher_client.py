"""Make chats by autobatcher, in a process with an interpreter of its own."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from bench_kit.processes import module_environment
from callsheet.actors import BatchApiPolicy, Request
from callsheet.compare.execution import PlainReply, read_reply, write_body

__all__ = [
    "AUTOBATCHER",
    "MISSING",
    "Autobatcher",
    "AutobatcherSettings",
    "find_autobatcher",
    "versions",
]

MISSING = (
    "autobatcher is not installed: pip install autobatcher in an environment of its own (it needs "
    "openai 2), and give its interpreter with --autobatcher PYTHON."
)
_SCRIPT = Path(__file__).with_name("autobatcher_way.py")
_LEAST_TOKENS = 16  # that a request to Responses may allow
_WINDOW_S, _POLL_S = 10.0, 5.0  # autobatcher's defaults


def find_autobatcher(python: str | None) -> str | None:
    """Return an interpreter that has autobatcher: the given one, or this one; None without any.

    Args:
        python: the path of an interpreter; None for this one.

    Raises:
        ValueError: the given interpreter cannot import autobatcher.
    """
    if python is None:
        return sys.executable if importlib.util.find_spec("autobatcher") else None
    tried = subprocess.run([python, "-c", "import autobatcher"], capture_output=True, check=False)
    if tried.returncode:
        raise ValueError(f"{python} cannot import autobatcher")
    return python


def versions(python: str) -> str:
    """Return the versions of autobatcher and of openai that an interpreter has."""
    code = (
        "from importlib.metadata import version as v; "
        "print(f\"autobatcher {v('autobatcher')} with openai {v('openai')}\")"
    )
    return subprocess.run(
        [python, "-c", code], capture_output=True, check=True, text=True
    ).stdout.strip()


@attrs.frozen(kw_only=True)
class AutobatcherSettings:
    """The settings of autobatcher that differ between ways; the others are its defaults.

    Args:
        completion_window: "24h" for the Batch API; "" for its default, background responses.
        window_s: seconds for which it gathers the requests of a batch, less than 1,000 of them.
        poll_s: seconds between two polls.
    """

    completion_window: str = ""
    window_s: float = _WINDOW_S
    poll_s: float = _POLL_S


AUTOBATCHER = {
    "autobatcher": AutobatcherSettings(),
    "autobatcher, 24h": AutobatcherSettings(completion_window="24h"),
    "autobatcher, 24h, window of 1 s": AutobatcherSettings(
        completion_window="24h", window_s=BatchApiPolicy().gather_s
    ),
}
"""The settings of autobatcher, by the name of the way."""


@attrs.define(eq=False)
class Autobatcher:
    """A process with a client of autobatcher, which makes chats.

    Args:
        process: the process.
        settings: the settings of the client.
    """

    process: trio.Process
    settings: AutobatcherSettings
    _is_killed: bool = attrs.field(default=False, init=False)
    _waiting: dict[int, trio.Event] = attrs.field(factory=dict[int, trio.Event], init=False)
    _answers: dict[int, Mapping[str, Any]] = attrs.field(
        factory=dict[int, Mapping[str, Any]], init=False
    )
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _asked: int = attrs.field(default=0, init=False)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, python: str, base_url: str, settings: AutobatcherSettings, time_scale: float
    ) -> AsyncGenerator["Autobatcher"]:
        """Start the process, and kill it on exit.

        Args:
            python: an interpreter that has autobatcher.
            base_url: the provider's base URL.
            settings: the settings of the client.
            time_scale: the factor on its times, as on the provider's.

        Raises:
            RuntimeError: the process ended at once.
        """
        times = (settings.window_s * time_scale, settings.poll_s * time_scale)
        process = await trio.lowlevel.open_process(
            [python, str(_SCRIPT), base_url, settings.completion_window, *map(str, times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**module_environment(), "PYTHONPATH": "", "LOGURU_LEVEL": "ERROR"},
        )
        lines = _lines(process)
        try:
            if await anext(lines, b"") != b"ready":
                raise RuntimeError("autobatcher's process ended at once; its error is above")
            found = cls(process, settings)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(found._receive, lines)
                yield found
                nursery.cancel_scope.cancel()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    def kill(self) -> None:
        """Kill the process, as `kill -9` does; callers get no answer."""
        self._is_killed = True
        self.process.kill()

    async def ask(self, request: Request) -> PlainReply:
        """Make one chat.

        Raises:
            RuntimeError: autobatcher raised an error.
        """
        if not self.settings.completion_window:
            tokens = max(request.max_tokens or 0, _LEAST_TOKENS)
            request = attrs.evolve(request, max_tokens=tokens)
        self._asked += 1
        number, event = self._asked, trio.Event()
        self._waiting[number] = event
        line = json.dumps({"id": number, "body": write_body(request)}).encode() + b"\n"
        if self.process.stdin is None:
            raise AssertionError("stdin is a pipe")
        async with self._sending:
            await self.process.stdin.send_all(line)
        await event.wait()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"autobatcher: {answer['error']}")
        made = httpx.Request("POST", "http://autobatcher")
        return read_reply(httpx.Response(200, json=answer["body"], request=made), request)

    async def _receive(self, lines: AsyncGenerator[bytes]) -> None:
        async for line in lines:
            answer = json.loads(line)
            self._answers[answer["id"]] = answer
            self._waiting.pop(answer["id"]).set()
        if not self._is_killed:
            raise RuntimeError("autobatcher's process ended; its error is above")


async def _lines(process: trio.Process) -> AsyncGenerator[bytes]:
    """Yield the lines that a process writes."""
    if process.stdout is None:
        raise AssertionError("stdout is a pipe")
    rest = b""
    async for data in process.stdout:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line
