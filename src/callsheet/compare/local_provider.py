"""The built-in provider in a process of its own, as long as it is needed."""

import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import IO

import trio

__all__ = ["ProviderNotStarted", "open_provider"]

_START_S = 60.0  # imports on a slow machine; it takes one second on a usual one


class ProviderNotStarted(Exception):
    """The provider's process ended, or said nothing, before it could be used."""


@asynccontextmanager
async def open_provider(
    *,
    seed: int,
    time_scale: float,
    rpm: int | None = None,
    tpm: int | None = None,
    burst_s: float = 60.0,
    options: Sequence[str] = (),
) -> AsyncGenerator[str]:
    """Run `callsheet simulate` on a free port, and kill it at the end; yields its base URL.

    Args:
        seed: its answers and latencies follow from it.
        time_scale: multiplies its latencies.
        rpm: requests a minute that it allows; None for no limit.
        tpm: tokens a minute, likewise.
        burst_s: how many seconds' worth of these it allows at once.
        options: further options of `callsheet simulate`.

    Raises:
        ProviderNotStarted: it did not start; the text has its last words.
    """
    command = [
        # -P: a file called callsheet.py in the working directory is somebody else's.
        *(sys.executable, "-P", "-m", "callsheet", "simulate", "--port", "0"),
        *("--seed", str(seed), "--time-scale", str(time_scale), "--burst", str(burst_s)),
        *(() if rpm is None else ("--rpm", str(rpm))),
        *(() if tpm is None else ("--tpm", str(tpm))),
        *options,
    ]
    # A file takes any number of words without holding the process up, as an unread pipe would.
    with tempfile.TemporaryFile() as words:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words
        )
        try:
            yield await _base_url(process, words)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                if process.stdout is not None:
                    await process.stdout.aclose()


async def _base_url(process: trio.Process, words: IO[bytes]) -> str:
    """The first line it prints."""
    line = b""
    with trio.move_on_after(_START_S):
        while not line.endswith(b"\n"):
            piece = await process.stdout.receive_some() if process.stdout else b""
            if not piece:
                status = await process.wait()
                raise ProviderNotStarted(
                    f"the built-in provider ended with status {status} instead of starting: "
                    f"{_last_line(words)}"
                )
            line += piece
    if not line.endswith(b"\n"):
        raise ProviderNotStarted(
            f"the built-in provider did not start within {_START_S:.0f} s: {_last_line(words)}"
        )
    return line.decode().strip()


def _last_line(words: IO[bytes]) -> str:
    words.seek(0)
    lines = words.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
