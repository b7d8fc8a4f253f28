"""The ways side by side: one workload, one provider, one way after another.

The built-in provider in a process of its own, as long as it is needed.
"""

import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import IO

import attrs
import trio

from ..actors import Json
from ..simulator.settings import ProviderSettings
from .lower_bound import LowerBound, rehearse
from .run import ModeResult, run_mode
from .ways import MODES, Mode
from .workloads import Workload

__all__ = [
    "Comparison",
    "Disagreement",
    "ProviderNotStarted",
    "Watch",
    "check_answers",
    "compare",
    "open_provider",
]


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


Watch = Callable[[Mode, int], None]
"""Is told how many items a way has done: 0 as it starts, and then each time one is."""


class Disagreement(Exception):
    """A way came to other answers than the rehearsal; its figures would compare nothing."""


@attrs.frozen(kw_only=True)
class Comparison:
    """What each way took.

    Args:
        workload: what was done.
        time_scale: what all times are multiplied by, the provider's latencies and the story's
            waiting times.
        rehearsal: what the workload comes to, and the bounds of how fast it can be done.
        modes: what each way took, in the order in which they ran.
    """

    workload: Workload
    time_scale: float
    rehearsal: LowerBound
    modes: Mapping[Mode, ModeResult]

    @property
    def critical_path_s(self) -> float:
        """Seconds of the slowest item's critical path by the provider's latencies alone.

        For fewer than 100 items that is the 99th percentile of theirs, too.
        """
        return self.rehearsal.slowest.critical_path[0]

    def to_json(self) -> dict[str, Json]:
        """The figures, for a program."""
        return {
            "workload": self.workload.name,
            "critical_path_s": self.critical_path_s,
            "modes": {mode: result.to_json() for mode, result in self.modes.items()},
        }


def _ignore(mode: Mode, done: int) -> None:
    """Nobody watches."""


async def compare(
    workload: Workload,
    *,
    seed: int = 0,
    time_scale: float = 1.0,
    modes: Sequence[Mode] = MODES,
    watch: Watch = _ignore,
) -> Comparison:
    """Run a workload in several ways against one provider in a process of its own.

    Latencies follow from (seed, prompt): every way meets the same ones.

    Args:
        workload: the items.
        seed: the provider's.
        time_scale: multiplies every latency and the story's waiting times.
        modes: the ways, in the order in which they run.
        watch: is told how far each way has come.

    Raises:
        ProviderNotStarted: there is no provider to compare with.
        RunFailed: an item could not be done.
        Disagreement: a way came to other answers than the rehearsal.
    """
    rehearsal = await rehearse(workload, ProviderSettings(seed=seed, time_scale=time_scale))
    results: dict[Mode, ModeResult] = {}
    async with open_provider(seed=seed, time_scale=time_scale) as base_url:
        for mode in modes:
            results[mode] = await _run(mode, workload, base_url, time_scale, watch)
            check_answers(mode, results[mode], rehearsal)
    return Comparison(workload=workload, time_scale=time_scale, rehearsal=rehearsal, modes=results)


async def _run(
    mode: Mode, workload: Workload, base_url: str, time_scale: float, watch: Watch
) -> ModeResult:
    done = 0

    def item_done() -> None:
        nonlocal done
        done += 1
        watch(mode, done)

    watch(mode, 0)
    return await run_mode(mode, workload, base_url, time_scale=time_scale, item_done=item_done)


def check_answers(mode: Mode, result: ModeResult, rehearsal: LowerBound) -> None:
    """See that a way came to the same answers as the rehearsal.

    Raises:
        Disagreement: it did not; the text names the first item and step.
    """
    for place, item in enumerate(rehearsal.items):
        found = result.results[place]
        for step, expected in item.results.items():
            if found.get(step) != expected:
                raise Disagreement(
                    f"{mode}: item {place + 1}, step {step}: the answer is not what the provider "
                    f"was sure to say: {found.get(step)!r:.60}"
                )
