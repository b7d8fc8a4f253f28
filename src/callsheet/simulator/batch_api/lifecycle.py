"""The lifecycle of a batch, as a function of time (R14).

No task runs for a batch. Its state is computed whenever it is needed, so it follows any clock.
"""

import math
from collections.abc import Mapping
from typing import Literal

import attrs

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
"""The final statuses."""

# Rounding of floats: a line due within a millionth of the time between two lines is due.
ALMOST = 1e-6


@attrs.frozen
class Moment:
    """The state of a batch at one time.

    Args:
        status: the status at that time.
        done: the number of processed lines.
        since: {status: the time at which it was reached, in seconds}.
    """

    status: Status
    done: int
    since: Mapping[Status, float]

    @property
    def has_ended(self) -> bool:
        """Whether the status is final."""
        return self.status in ENDS


@attrs.frozen(kw_only=True)
class Lifecycle:
    """The schedule of a batch. All times are seconds on one clock.

    Args:
        lines: the number of lines; they are processed one after another at a constant rate.
        created: the time of creation.
        validating_s: the duration of validation.
        work_s: the duration of processing; infinite if it never ends.
        finalizing_s: the duration of writing the output.
        cancelling_s: the duration of a cancellation.
        expires: the time of expiry, if the lines are not processed by then.
        is_valid: True if the input is valid.
        cancelled: the time of cancellation; None if it was not cancelled.
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
        """The time at which processing begins."""
        return min(self.created + self.validating_s, self.expires)

    @property
    def ends(self) -> float:
        """The time at which processing would end."""
        return self.begins + self.work_s

    def at(self, now: float) -> Moment:
        """Return the state at a time, which is not before the creation."""
        passed = [step for step in self._path() if step[1] <= now]
        status, _ = passed[-1]
        return Moment(status, self._done(now), dict(passed))

    def done_at(self, place: int) -> float:
        """Return the time at which the line at an index, from 0, would be processed."""
        return self.begins + self.work_s * ((place + 1) / self.lines)

    def cancel(self, now: float) -> "Lifecycle":
        """Return the batch cancelled now; a batch that ended or was cancelled does not change."""
        if self.cancelled is not None or self.at(now).has_ended:
            return self
        return attrs.evolve(self, cancelled=now)

    def expiring(self, share: float) -> "Lifecycle":
        """Return the batch slowed down so that it expires with this share of its lines processed.

        Args:
            share: from 0 to below 1.
        """
        time_s = self.expires - self.begins
        return attrs.evolve(self, work_s=time_s / share if share else math.inf)

    def _path(self) -> list[_Step]:
        """Return the statuses of the batch, with their times."""
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
        if (
            stop >= self.ends
        ):  # the sum that decides the status, because floats of another sum may differ
            return self.lines
        worked = stop - self.begins
        return min(self.lines, math.floor(self.lines * (worked / self.work_s) + ALMOST))
