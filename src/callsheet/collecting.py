"""Look for cycles of objects more rarely, in a process that makes hardly any."""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_OBJECTS: Final = 50_000  # some MB


@contextmanager
def rare_collections() -> Generator[None]:
    """Let the collector pass over what exists already, and look at new objects more rarely.

    CPython looks for cycles after each 700 objects that were made and not freed, and from time to
    time among all objects, most of which are modules, classes and functions. A bulk run or a
    gateway makes hardly any cycles, and its objects in flight are bounded. Looking for them took an
    eighth of the CPU time of a run.

    It holds for the whole process, as `callsheet run` and `callsheet serve` are one. A program that
    does other things as well decides for itself.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
