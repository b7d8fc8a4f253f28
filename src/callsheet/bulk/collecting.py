"""Collect cyclic garbage less often while a process does nothing but a run.

CPython looks for cycles after each 700 objects that were made and not freed, and from time to time
among all objects, most of which are modules, classes and functions. A run makes hardly any cycles,
and its objects in flight are bounded. Looking for them took an eighth of its CPU time.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager

_OBJECTS = 50_000  # some MB


@contextmanager
def rare_collections() -> Generator[None]:
    """Let the collector pass over what exists already, and look at new objects more rarely.

    It holds for the whole process, as `callsheet run` is one. A program that does other things
    beside its run decides for itself.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
