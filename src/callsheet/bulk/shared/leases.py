"""The leases of the workers of a run, by a time that is counted. Pure (R14)."""

from collections.abc import Mapping
from typing import final

import attrs

from .queue import WORKER_LEASE_S

_MOST_STEP_MS = 5_000
_LEASE_MS = round(1000 * WORKER_LEASE_S)


@final
@attrs.define
class WorkerLeases:
    """Which workers live.

    Time is counted by `now` of the calls, but at most 5 s from one call to the next one. While a
    server was stopped, or when its clock jumps, no lease ends: those who live say so first.

    Attributes:
        now: the counted time, in milliseconds.
        reports: {worker: its latest report}.
    """

    now: int = attrs.field(default=0, init=False)
    reports: dict[str, bytes] = attrs.field(factory=dict[str, bytes], init=False)
    _last: int = attrs.field(default=0, init=False)  # `now` of the last call
    _until: dict[str, int] = attrs.field(factory=dict[str, int], init=False)  # by worker

    def begin(self, now: int) -> None:
        """Count from 0.

        Args:
            now: the time in milliseconds, by a clock that may jump.
        """
        self.now, self._last = 0, now

    def tick(self, now: int) -> None:
        """Count on.

        Args:
            now: as of `begin`.
        """
        self.now += min(max(now - self._last, 0), _MOST_STEP_MS)
        self._last = now

    def renew(self, worker: str) -> None:
        """Note that a worker lives.

        Args:
            worker: the name of the worker.
        """
        self._until[worker] = self.now + _LEASE_MS

    def ended(self, asker: str) -> list[str]:
        """Return the workers whose lease has ended, the oldest lease first.

        Args:
            asker: a worker that is left out.
        """
        found = [
            (until, name)
            for name, until in self._until.items()
            if until <= self.now and name != asker
        ]
        return [name for _, name in sorted(found)]

    @property
    def live(self) -> Mapping[str, bytes]:
        """The workers whose lease has not ended, with their latest reports."""
        live = sorted(name for name, until in self._until.items() if until > self.now)
        return {name: self.reports.get(name, b"") for name in live}

    def forget(self, worker: str) -> None:
        """Forget a worker.

        Args:
            worker: the name of the worker.
        """
        del self._until[worker]
        self.reports.pop(worker, None)

    def clear(self) -> None:
        """Forget all workers."""
        self._until.clear()
        self.reports.clear()
