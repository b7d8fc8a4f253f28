"""What is counted while the client asks. Pure but for the clocks: the loop that asks is another's.

The phases are: one call; `idle`; `begin`; everybody asks, until each has had an answer; `begin`
again; the window; `finish`. Contenders that do not get as far in time are counted from the first
`begin` on.
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
    """How long a contender is watched.

    Args:
        window_s: the window, at least.
        warm_up_s: everybody has that long, at most, to get a first answer before it.
    """

    window_s: float
    warm_up_s: float

    def is_over(self, elapsed_s: float, calls: int, in_flight: int) -> bool:
        """Whether the window is.

        A slow contender answers in bursts, far apart. It stays open until as many were answered as
        are in flight at a time, so that it has seen a burst, or there is no more time for that.
        """
        has_seen_all = calls >= in_flight or elapsed_s >= _LONGEST_S
        return has_seen_all and elapsed_s >= self.window_s


@attrs.frozen
class Sample:
    """What one contender did in one window.

    Args:
        calls: that were answered in it.
        wall_s: how long it was.
        cpu_s: CPU seconds of the client in it.
        provider_cpu_s: those of the provider.
        p50_s: the median of how long a call took.
        idle_bytes: resident memory of the client after one call.
        busy_bytes: the same with all calls in flight.
        open_files: of the client, with all calls in flight; 0 where that is not known.
        failures: how many calls failed, by the error's name.
        is_warm: everybody had an answer before the window began; else it is all the time.
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
        """Of one core, that the provider used."""
        return self.provider_cpu_s / self.wall_s


Say = Callable[[Sample], None]
"""Is told what came of the window."""


class Meter:
    """Counts for one window.

    Args:
        provider: its process id.
        in_flight: how many ask at a time.
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
        """Everybody has had an answer."""
        return self._cold <= 0

    @property
    def now(self) -> float:
        """In seconds."""
        return time.perf_counter()

    def is_over(self, plan: Plan) -> bool:
        """Whether the window is."""
        return plan.is_over(self.now - self._began, len(self._seconds), self._in_flight)

    def idle(self) -> None:
        """The client is set up, and has made a call."""
        settle()
        self._idle_bytes = resident_bytes()

    def warmed(self) -> bool:
        """Somebody has had a first answer; whether it was the last one to have."""
        self._cold -= 1
        return self._cold == 0

    def begin(self) -> None:
        """The window begins, or begins anew."""
        self._busy_bytes = resident_bytes()
        self._failures.clear()
        del self._seconds[:]
        self._provider_began = cpu_s_of(self._provider)
        self._began, self._cpu_began = self.now, cpu_s()

    def answered(self, since: float) -> None:
        """A call that was made at `since` has its answer."""
        self._seconds.append(self.now - since)

    def failed(self, error: Exception) -> None:
        """A call has none."""
        self._failures[type(error).__name__] += 1

    def finish(self) -> Sample:
        """The window ends.

        Raises:
            RuntimeError: nothing was answered in it.
        """
        used_s, wall_s = cpu_s() - self._cpu_began, self.now - self._began
        provider_s = cpu_s_of(self._provider) - self._provider_began
        if not self._seconds:
            raise RuntimeError(f"no call was answered in {wall_s:.1f} s: {dict(self._failures)}")
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
