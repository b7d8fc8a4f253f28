"""Run one workload in several modes, one after another, against one built-in provider.

The provider runs in a separate process, so that its work takes no time from the measured process.
"""

import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import IO

import attrs
import trio

from ..simulator.settings import ProviderSettings
from .lower_bound import LowerBound, compute_lower_bound
from .modes import MODES, Mode
from .run import ModeFigures, ModeResult, run_mode
from .workloads import Workload

_START_S = 60.0  # imports on a slow machine; it takes one second on a usual one


class ProviderNotStarted(Exception):
    """The provider's process exited, or printed no URL, before it could be used."""


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
    """Run `callsheet simulate` on a free port, yield its base URL, and kill it on exit.

    Args:
        seed: determines the provider's responses and latencies.
        time_scale: the factor by which the provider multiplies its latencies.
        rpm: the limit in requests per minute; None for no limit.
        tpm: the limit in tokens per minute; None for no limit.
        burst_s: the size of a burst, in seconds of these limits.
        options: further command-line options of `callsheet simulate`.

    Raises:
        ProviderNotStarted: the process did not start; the text has its last line of stderr.
    """
    command = [
        # -P: do not import a callsheet.py from the working directory.
        *(sys.executable, "-P", "-m", "callsheet", "simulate", "--port", "0"),
        *("--seed", str(seed), "--time-scale", str(time_scale), "--burst", str(burst_s)),
        *(() if rpm is None else ("--rpm", str(rpm))),
        *(() if tpm is None else ("--tpm", str(tpm))),
        *options,
    ]
    # An unread pipe would block the process once it is full; a file does not.
    with tempfile.TemporaryFile() as stderr:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        )
        try:
            yield await _base_url(process, stderr)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                if process.stdout is not None:
                    await process.stdout.aclose()


async def _base_url(process: trio.Process, stderr: IO[bytes]) -> str:
    """Read the base URL, which is the first line that the provider prints."""
    line = b""
    with trio.move_on_after(_START_S):
        while not line.endswith(b"\n"):
            piece = await process.stdout.receive_some() if process.stdout else b""
            if not piece:
                status = await process.wait()
                raise ProviderNotStarted(
                    f"the built-in provider exited with status {status} before it was ready: "
                    f"{_last_line(stderr)}"
                )
            line += piece
    if not line.endswith(b"\n"):
        raise ProviderNotStarted(
            f"the built-in provider did not start within {_START_S:.0f} s: {_last_line(stderr)}"
        )
    return line.decode().strip()


def _last_line(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed no error"


ProgressCallback = Callable[[Mode, int], None]
"""Called with a mode and its number of finished items: with 0 at the start, then per item."""


class AnswerMismatch(Exception):
    """A mode produced other results than expected, so its figures cannot be compared."""


@attrs.frozen(kw_only=True)
class Comparison:
    """The measured figures of every mode.

    Args:
        workload: the items that every mode ran.
        time_scale: the factor on all times: the provider's latencies, and the window and the poll
            interval of the fixed_window mode.
        lower_bound: the expected results, and the shortest possible times.
        modes: the result of each mode, in the order in which the modes ran.
    """

    workload: Workload
    time_scale: float
    lower_bound: LowerBound
    modes: Mapping[Mode, ModeResult]

    @property
    def critical_path_s(self) -> float:
        """Seconds of the slowest item's critical path, counting the provider's latencies only.

        With fewer than 100 items this is also the 99th percentile of the items' critical paths.
        """
        return self.lower_bound.slowest.critical_path[0]

    def document(self) -> "ComparisonDocument":
        """Return the figures, without the results."""
        return ComparisonDocument(
            workload=self.workload.name,
            critical_path_s=self.critical_path_s,
            modes={mode: result.figures() for mode, result in self.modes.items()},
        )


@attrs.frozen(kw_only=True)
class ComparisonDocument:
    """What `callsheet compare --json` writes. Amounts of USD are texts with all their digits.

    Args:
        workload: the name of the workload.
        critical_path_s: seconds of the slowest item's critical path, counting the provider's
            latencies only: no way can be faster.
        modes: the figures by mode, in the order in which the modes ran.
    """

    workload: str
    critical_path_s: float
    modes: Mapping[Mode, ModeFigures]


def _ignore(mode: Mode, done: int) -> None:
    """Ignore progress."""


async def compare(
    workload: Workload,
    *,
    seed: int = 0,
    time_scale: float = 1.0,
    modes: Sequence[Mode] = MODES,
    watch: ProgressCallback = _ignore,
) -> Comparison:
    """Run a workload in several modes against one provider in a separate process.

    A latency depends on the seed and the prompt only, so every mode meets the same latencies.

    Args:
        workload: the items to process, and the recipe for each.
        seed: the seed of the provider's latencies and texts.
        time_scale: the factor on the provider's latencies, and on the window and the poll interval
            of the fixed_window mode.
        modes: the modes, in the order in which they run.
        watch: called as items finish.

    Raises:
        ProviderNotStarted: the provider did not start.
        RunFailed: an item failed.
        AnswerMismatch: a mode produced other results than expected.
    """
    lower_bound = await compute_lower_bound(
        workload, ProviderSettings(seed=seed, time_scale=time_scale)
    )
    results: dict[Mode, ModeResult] = {}
    async with open_provider(seed=seed, time_scale=time_scale) as base_url:
        for mode in modes:
            results[mode] = await _run(mode, workload, base_url, time_scale, watch)
            check_answers(mode, results[mode], lower_bound)
    return Comparison(
        workload=workload, time_scale=time_scale, lower_bound=lower_bound, modes=results
    )


async def _run(
    mode: Mode, workload: Workload, base_url: str, time_scale: float, watch: ProgressCallback
) -> ModeResult:
    done = 0

    def item_done() -> None:
        nonlocal done
        done += 1
        watch(mode, done)

    watch(mode, 0)
    return await run_mode(mode, workload, base_url, time_scale=time_scale, item_done=item_done)


def check_answers(mode: Mode, result: ModeResult, lower_bound: LowerBound) -> None:
    """Check that a mode produced the expected results.

    Args:
        mode: the mode, for the error text.
        result: what the mode produced.
        lower_bound: contains the expected result of each step.

    Raises:
        AnswerMismatch: a result differs; the text names the first item and step that do.
    """
    for place, item in enumerate(lower_bound.items):
        found = result.results[place]
        for step, expected in item.results.items():
            if found.get(step) != expected:
                raise AnswerMismatch(
                    f"{mode}: item {place + 1}, step {step}: the response differs from the one "
                    f"that the provider gives for this prompt: {found.get(step)!r:.60}"
                )
