"""Measure contenders in alternating order, each after a garbage collection.

Time is the CPU time of this process, which does not include other processes of a shared machine.
For work that waits for nothing outside the process, it equals the wall time on an idle machine.
"""

import gc
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["alternate", "cpu_s", "settle"]

T = TypeVar("T")

cpu_s = time.process_time


def alternate(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measure each contender once in every round (A B, A B, ...), so that noise affects all.

    Args:
        contenders: the functions to measure, by name; each call is one measurement.
        rounds: measurements of each contender.

    Returns:
            The results of each contender, one for each round.
    """
    samples: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            samples[name].append(measure())
    return samples


def settle() -> None:
    """Collect the garbage of earlier measurements, and freeze the objects that are alive.

    The collector stays on, because its cost is part of the cost of a contender.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
