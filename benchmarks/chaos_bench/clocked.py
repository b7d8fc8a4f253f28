"""Run `callsheet` under libfaketime, whose clock a file moves while the process runs.

    python -m chaos_bench.clocked work unix:///tmp/s

libfaketime refuses the sleep of Python's `time.sleep`, until an instant of the monotonic clock, so
this module sleeps in another way. Everything else is as it would be.
"""

import runpy
import select
import time
from typing import SupportsIndex

__all__ = ["sleep"]


def sleep(seconds: float | SupportsIndex, /) -> None:
    """Wait, by a system call that knows no clock."""
    select.select([], [], [], max(0.0, float(seconds)))


if __name__ == "__main__":
    time.sleep = sleep
    runpy.run_module("callsheet", run_name="__main__", alter_sys=True)
