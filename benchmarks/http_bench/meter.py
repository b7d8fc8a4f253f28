"""Count the calls of a client. The module makes no calls; it reads only clocks and memory.

The phases are: one call; `idle`; `begin`; all tasks call until each has a response; `begin` again;
the window; `finish`. A contender that is not warm in time is counted from the first `begin` on.
"""

import statistics
import time
from array import array
from collections import Counter
from collections.abc import Callable

import attrs

from bench_kit.processes import cpu_s_of, open_files, resident_bytes
from bench_kit.sampling import cpu_s, settle

__all__ = ["Meter", "Plan", "Sample", "Say"]

_LONGEST_S = 20.0


@attrs.frozen
class Plan:
    """The lengths of the phases.

    Args:
        window_s: the shortest length of the window, in seconds.
        warm_up_s: the longest time in seconds until each task has its first response.
    """

    window_s: float
    warm_up_s: float

    def is_over(self, elapsed_s: float, calls: int, in_flight: int) -> bool:
        """Return whether the window is over.

        A slow contender gets responses in bursts with long pauses. So the window stays open until
        it has as many responses as calls in flight, or until its longest time is over.
        """
        has_seen_all = calls >= in_flight or elapsed_s >= _LONGEST_S
        return has_seen_all and elapsed_s >= self.window_s


@attrs.frozen
class Sample:
    """The measurements of one contender in one window.

    Args:
        calls: number of responses in the window.
        wall_s: length of the window in seconds.
        cpu_s: CPU seconds of the client in the window.
        provider_cpu_s: CPU seconds of the provider in the window.
        p50_s: the median duration of a call, in seconds.
        idle_bytes: resident memory of the client after one call, in bytes.
        busy_bytes: resident memory of the client with all calls in flight, in bytes.
        open_files: number of open files of the client with all calls in flight; 0 where it is not
            reported.
        failures: number of failed calls by the name of the error.
        is_warm: whether each task had a response before the window began. If not, the window
            includes the warm-up.
    """

    calls: int
    wall_s: float
    cpu_s: float
    provider_cpu_s: float
    p50_s: float
    idle_bytes: int
    busy_bytes: int
    open_files: int
    failures: dict[str, int]
    is_warm: bool

    @property
    def provider_share(self) -> float:
        """The share of one core that the provider used, 0 to 1."""
        return self.provider_cpu_s / self.wall_s


Say = Callable[[Sample], None]
"""Gets the sample of the window."""


class Meter:
    """Counts the calls of one window.

    Args:
        provider: the process id of the provider.
        in_flight: number of tasks that call.
    """

    def __init__(self, provider: int, in_flight: int) -> None:
        self._provider = provider
        self._in_flight = self._cold = in_flight
        self._seconds = array("d")
        self._failures: Counter[str] = Counter()
        self._idle_bytes = self._busy_bytes = 0
        self._began = self._cpu_began = self._provider_began = 0.0

    @property
    def is_warm(self) -> bool:
        """Whether each task has had a response."""
        return self._cold <= 0

    @property
    def now(self) -> float:
        """The time in seconds, of a monotonic clock."""
        return time.perf_counter()

    def is_over(self, plan: Plan) -> bool:
        """Return whether the window is over."""
        return plan.is_over(self.now - self._began, len(self._seconds), self._in_flight)

    def idle(self) -> None:
        """Record the memory of a client that has made one call."""
        settle()
        self._idle_bytes = resident_bytes()

    def warmed(self) -> bool:
        """Record that a task has its first response, and return whether all tasks have one."""
        self._cold -= 1
        return self._cold == 0

    def begin(self) -> None:
        """Begin the window, or begin it again."""
        self._busy_bytes = resident_bytes()
        self._failures.clear()
        del self._seconds[:]
        self._provider_began = cpu_s_of(self._provider)
        self._began, self._cpu_began = self.now, cpu_s()

    def answered(self, since: float) -> None:
        """Record the response to a call that was made at `since`, a time of `now`."""
        self._seconds.append(self.now - since)

    def failed(self, error: Exception) -> None:
        """Record a failed call."""
        self._failures[type(error).__name__] += 1

    def finish(self) -> Sample:
        """End the window, and return its sample.

        Raises:
            RuntimeError: the window has no response.
        """
        used_s, wall_s = cpu_s() - self._cpu_began, self.now - self._began
        provider_s = cpu_s_of(self._provider) - self._provider_began
        if not self._seconds:
            raise RuntimeError(f"no call got a response in {wall_s:.1f} s: {dict(self._failures)}")
        return Sample(
            calls=len(self._seconds),
            wall_s=wall_s,
            cpu_s=used_s,
            provider_cpu_s=provider_s,
            p50_s=statistics.median(self._seconds),
            idle_bytes=self._idle_bytes,
            busy_bytes=max(self._busy_bytes, resident_bytes()),
            open_files=open_files(),
            failures=dict(self._failures),
            is_warm=self.is_warm,
        )
