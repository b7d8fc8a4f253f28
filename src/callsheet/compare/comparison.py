"""The ways side by side: one workload, one provider, one way after another."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from ..actors import Json
from ..provider.settings import ProviderSettings
from .local_provider import open_provider
from .rehearsal import Rehearsal, rehearse
from .run import ModeResult, run_mode
from .ways import MODES, Mode
from .workloads import Workload

__all__ = ["Comparison", "Disagreement", "Watch", "check_answers", "compare"]

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
    rehearsal: Rehearsal
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


def check_answers(mode: Mode, result: ModeResult, rehearsal: Rehearsal) -> None:
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
