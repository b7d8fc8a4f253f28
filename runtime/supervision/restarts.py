"""When a crashed actor is started again, and when no more (R7). Pure: no clock, no await (R14)."""

from collections import deque
from random import Random

import attrs
from attrs.validators import ge, gt

__all__ = [
    "Backoff",
    "RestartPolicy",
    "RestartWindow",
]


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """How patient a supervisor is.

    Args:
        max_restarts: restart intensity: more crashes than this within `period_s` fail upward.
        period_s: length of the sliding window, in seconds.
        base_s: the longest pause before the first restart, in seconds; it doubles from crash to
            crash.
        cap_s: the longest pause of all, in seconds.
        healthy_s: an incarnation that lived this long starts the doubling over, in seconds.

    Raises:
        ValueError: a value makes no sense; the message names it.
    """

    max_restarts: int = attrs.field(default=5, validator=ge(0))
    period_s: float = attrs.field(default=30.0, validator=gt(0))
    base_s: float = attrs.field(default=0.1, validator=ge(0))
    cap_s: float = attrs.field(default=10.0, validator=ge(0))
    healthy_s: float = attrs.field(default=30.0, validator=ge(0))


class RestartWindow:
    """The crashes of a supervisor's children within the sliding window."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Note a crash at `now`; whether it may be answered with a restart."""
        self._forget(now)
        self._crashes.append(now)
        return len(self._crashes) <= self._policy.max_restarts

    def left(self, now: float) -> int:
        """How many crashes may follow at `now` before one fails upward."""
        self._forget(now)
        return max(0, self._policy.max_restarts - len(self._crashes))

    def _forget(self, now: float) -> None:
        while self._crashes and self._crashes[0] <= now - self._policy.period_s:
            self._crashes.popleft()


class Backoff:
    """The pauses before the restarts of one child: exponential, with full jitter.

    The pause before restart k, from 0, is uniform between 0 and min(cap, base x 2^k): "full
    jitter" in the comparison of M. Brooker, "Exponential Backoff And Jitter" (AWS, 2015).

    Args:
        policy: how long.
        seed: what the jitter is drawn from (R13).
    """

    def __init__(self, policy: RestartPolicy, seed: str) -> None:
        self._policy = policy
        self._random = Random(seed)  # noqa: S311  # not a secret
        self._crashes = 0

    def after(self, lived_s: float) -> float:
        """Seconds to wait now that an incarnation that lived `lived_s` has crashed."""
        if lived_s >= self._policy.healthy_s:
            self._crashes = 0
        # 2.0 ** 1024 overflows; long before, the cap has taken over.
        longest = min(self._policy.cap_s, self._policy.base_s * 2.0 ** min(self._crashes, 60))
        self._crashes += 1
        return self._random.uniform(0.0, longest)
