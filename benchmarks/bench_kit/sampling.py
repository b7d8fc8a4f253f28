"""How a figure is measured: contenders take turns, and each turn begins with the garbage gone.

Time is the CPU time of this process: it leaves out what others do on a shared machine. Where
nothing waits for anything outside of the process it is what the clock on the wall shows on an idle
one.
"""

import gc
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["alternate", "cpu_s", "settle"]

T = TypeVar("T")

cpu_s = time.process_time


def alternate(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Let everybody have a turn in every round: A B, A B, ..., so that a slow spell hits all.

    Args:
        contenders: what to measure; each call is one turn.
        rounds: turns of each.
    """
    samples: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            samples[name].append(measure())
    return samples


def settle() -> None:
    """Collect what earlier turns left, and keep what lives now out of later collections.

    The collector stays on: what it costs is part of what a contender costs.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
