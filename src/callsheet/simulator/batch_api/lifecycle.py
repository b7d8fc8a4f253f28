"""The life of a batch, as a function of the time (R14).

Nothing runs while a batch is worked on. What has become of it is worked out whenever somebody
looks, so it needs no task of its own and keeps to whatever clock there is.
"""

import math
from collections.abc import Mapping
from typing import Literal

import attrs

__all__ = [
    "ENDS",
    "Lifecycle",
    "Moment",
    "Status",
]


Status = Literal[
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
]

_Step = tuple[Status, float]

ENDS: frozenset[Status] = frozenset({"completed", "failed", "expired", "cancelled"})
"""The statuses that none follows."""

# Floats: a line that is due in less than a millionth of the time between two is due.
ALMOST = 1e-6


@attrs.frozen
class Moment:
    """What a batch is like at one moment.

    Args:
        status: its status.
        done: how many lines are done.
        since: when it came into each status that it has had, in seconds.
    """

    status: Status
    done: int
    since: Mapping[Status, float]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDS


@attrs.frozen(kw_only=True)
class Lifecycle:
    """When what becomes of a batch. All times are seconds on one clock.

    Args:
        lines: how many there are to do; they are done one after the other, evenly.
        created: when it was created.
        validating_s: how long it is validated.
        work_s: how long its lines take; infinite when they are never done.
        finalizing_s: how long its output is put together.
        cancelling_s: how long a cancellation takes.
        expires: when it expires, if its lines are not done by then.
        is_valid: whether its input was found in order.
        cancelled: when it was cancelled, if it was.
    """

    lines: int
    created: float
    validating_s: float
    work_s: float
    finalizing_s: float
    cancelling_s: float
    expires: float
    is_valid: bool = True
    cancelled: float | None = None

    @property
    def begins(self) -> float:
        """When the work on its lines begins."""
        return min(self.created + self.validating_s, self.expires)

    @property
    def ends(self) -> float:
        """When the work on its lines ends, if nothing comes between."""
        return self.begins + self.work_s

    def at(self, now: float) -> Moment:
        """What it is like at a moment, which is not before its creation."""
        passed = [step for step in self._path() if step[1] <= now]
        status, _ = passed[-1]
        return Moment(status, self._done(now), dict(passed))

    def done_at(self, place: int) -> float:
        """When the line at this place, from 0, is done, if nothing comes between."""
        return self.begins + self.work_s * ((place + 1) / self.lines)

    def cancel(self, now: float) -> "Lifecycle":
        """The same batch, cancelled now; one that has ended, or is cancelled, stays as it is."""
        if self.cancelled is not None or self.at(now).has_ended:
            return self
        return attrs.evolve(self, cancelled=now)

    def expiring(self, share: float) -> "Lifecycle":
        """The same batch, so slow that it expires with this share of its lines done, below 1."""
        time_s = self.expires - self.begins
        return attrs.evolve(self, work_s=time_s / share if share else math.inf)

    def _path(self) -> list[_Step]:
        """The statuses it goes through, and when."""
        path: list[_Step] = [("validating", self.created)]
        if not self.is_valid:
            path.append(("failed", self.begins))
        else:
            path.append(("in_progress", self.begins))
            if self.ends > self.expires or self.begins == self.expires:
                path.append(("expired", self.expires))
            else:
                path.append(("finalizing", self.ends))
                path.append(("completed", self.ends + self.finalizing_s))
        if self.cancelled is not None:
            path = [step for step in path if step[1] <= self.cancelled]
            path.append(("cancelling", self.cancelled))
            path.append(("cancelled", self.cancelled + self.cancelling_s))
        return path

    def _done(self, now: float) -> int:
        stop = min(now, self.expires, math.inf if self.cancelled is None else self.cancelled)
        if not self.is_valid or stop < self.begins:
            return 0
        if stop >= self.ends:  # the same sum as the status goes by: floats differ in another one
            return self.lines
        worked = stop - self.begins
        return min(self.lines, math.floor(self.lines * (worked / self.work_s) + ALMOST))
