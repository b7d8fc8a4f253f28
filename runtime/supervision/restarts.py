"""Decide whether, with which siblings and when a child is restarted (R7).

The strategies and the kinds of children are those of Erlang/OTP's supervisor. Everything here is
pure: no clock and no await (R14).
"""

from collections import deque
from collections.abc import Iterable
from random import Random

from .._core import Restart, RestartPolicy, Strategy


def is_restarted(restart: Restart, *, crashed: bool) -> bool:
    """Return whether a child that has ended is started again.

    Args:
        restart: the child's restart setting.
        crashed: whether the child raised an exception; False if it ended by itself.
    """
    return restart == "permanent" or (restart == "transient" and crashed)


def restart_group(strategy: Strategy, order: Iterable[str], failed: str) -> tuple[str, ...]:
    """Return the children to stop in reverse order and then to start again in this order.

    Args:
        strategy: the supervisor's strategy.
        order: the names of all children, in start order.
        failed: the name of the child that has ended; it must be in `order`.
    """
    if strategy == "one_for_one":
        return (failed,)
    names = tuple(order)
    return names if strategy == "one_for_all" else names[names.index(failed) :]


class RestartWindow:
    """Count the crashes of a supervisor's children in the sliding window."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Record a crash at `now`; return whether a restart is allowed."""
        self._expire(now)
        self._crashes.append(now)
        return len(self._crashes) <= self._policy.max_restarts

    def left(self, now: float) -> int:
        """Return how many more crashes at `now` are allowed before the supervisor fails upward."""
        self._expire(now)
        return max(0, self._policy.max_restarts - len(self._crashes))

    def _expire(self, now: float) -> None:
        while self._crashes and self._crashes[0] <= now - self._policy.period_s:
            self._crashes.popleft()


class Backoff:
    """Compute the pauses before the restarts of one child: exponential, with full jitter.

    The pause before restart k, counted from 0, is uniform between 0 and min(cap, base x 2^k):
    "full jitter" in M. Brooker, "Exponential Backoff And Jitter" (AWS, 2015).

    Args:
        policy: the bounds of the pauses.
        seed: seed of the jitter (R13).
    """

    def __init__(self, policy: RestartPolicy, seed: str) -> None:
        self._policy = policy
        self._random = Random(seed)  # noqa: S311  # not a secret
        self._crashes = 0

    def after(self, uptime_s: float) -> float:
        """Return the pause in seconds after the crash of an incarnation that ran `uptime_s`."""
        if uptime_s >= self._policy.healthy_s:
            self._crashes = 0
        # 2.0 ** 1024 overflows; the cap applies long before.
        longest = min(self._policy.cap_s, self._policy.base_s * 2.0 ** min(self._crashes, 60))
        self._crashes += 1
        return self._random.uniform(0.0, longest)
