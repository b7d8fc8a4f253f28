"""How often and how late a call is retried, and one budget for all its requests. Pure (R14).

A retry, a hedge and a fallback each send an extra request for a call that one request did not
serve. One budget pays for all three (L2), so that they cannot multiply each other. A throttle
bounds the extra requests of all calls together.
"""

from math import inf
from random import Random
from typing import Literal

import attrs

from ..validation import ge, instance_of, lt


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how late a call is retried (L2): no other stage retries.

    Args:
        max_attempts: HTTP requests for one call at most, the first included.
        base_s: the longest back-off before the second attempt, in seconds; it doubles each time.
        cap_s: the longest back-off, in seconds.
        max_server_s: the longest pause that a provider may ask for, in seconds; if it asks for
            more, the call fails at once.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    max_attempts: int = attrs.field(default=5, validator=[instance_of(int), ge(1)])
    base_s: float = attrs.field(default=0.5, validator=[ge(0), lt(inf)])
    cap_s: float = attrs.field(default=8.0, validator=[ge(0), lt(inf)])
    max_server_s: float = attrs.field(default=120.0, validator=ge(0))

    def backoff(self, failures: int, server_s: float | None, random: Random) -> float:
        """Return the pause after some failures in a row, in seconds.

        Exponential back-off with full jitter: uniform between 0 and min(cap, base x 2^(k-1))
        after failure k (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015). The pause that
        the provider asks for is a minimum. The jitter of the first pause is added to it, so that
        calls refused together do not return together. A pause of 0 seconds, or a date in the past,
        counts as none: otherwise a provider that always sends one would get retries without any
        back-off.

        Args:
            failures: failures in a row, at least 1.
            server_s: the pause that the provider asks for, in seconds; None if it asks for none.
            random: the source of the jitter (R13).
        """
        if not server_s:
            return random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 60)))
        return server_s + random.uniform(0.0, self.base_s)

    def is_too_long(self, server_s: float | None) -> bool:
        """Return whether the provider asks for a longer pause than it may.

        Args:
            server_s: the pause, in seconds; None if it asks for none.
        """
        return server_s is not None and (server_s > self.max_server_s or server_s == inf)


Extra = Literal["retry", "hedge", "fallback"]
"""Why a call sends more than its first request."""

GiveUp = Literal[
    "attempts",  # the rest is reserved for later targets, if there is a rest
    "server",  # the provider asks for a longer pause than it may
    "deadline",  # the pause would last until the deadline or longer (L1)
    "throttle",  # all calls together retry too often
]
"""Why there is no retry."""


@attrs.frozen(kw_only=True)
class ThrottlePolicy:
    """How many extra requests all calls together may send.

    Args:
        share: extra requests for each call; 0.2 allows 20 % more.
        min_per_s: extra requests per second that are allowed whatever the number of calls.
        burst: extra requests that can be saved up; all of them are available at the start.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    share: float = attrs.field(default=0.2, validator=[ge(0), lt(inf)])
    min_per_s: float = attrs.field(default=10.0, validator=[ge(0), lt(inf)])
    burst: float = attrs.field(default=100.0, validator=[ge(1), lt(inf)])


@attrs.frozen(kw_only=True)
class ThrottleStatistics:
    """The state of a throttle.

    Args:
        calls: calls that have begun.
        taken: extra requests that were allowed.
        refused: extra requests that were not allowed.
        level: extra requests that are available now.
    """

    calls: int
    taken: int
    refused: int
    level: float


class RetryThrottle:
    """Keep retries from overloading a provider that fails already.

    A token bucket: each call adds `share`, each extra request takes 1, and `min_per_s` refills it
    for programs that make few calls. This is Finagle's retry budget (K. Oliver, "Retry Budgets",
    2016; 20 % and 10 per second are its defaults); gRPC's retry throttling (proposal A6) has the
    same purpose. In both, savings expire; here `burst` bounds them. In t seconds with n calls the
    throttle allows at most burst + share x n + min_per_s x t extra requests.

    Args:
        policy: how many extra requests are allowed.
        now: the present, in seconds of any clock that never goes back.
    """

    def __init__(self, policy: ThrottlePolicy, now: float) -> None:
        self._policy = policy
        self._level = policy.burst
        self._at = now
        self._calls = self._taken = self._refused = 0

    def __repr__(self) -> str:
        return f"<RetryThrottle {self._level:.1f} left, {self._taken} taken>"

    def deposit(self, now: float) -> None:
        """Count a call that begins."""
        self._calls += 1
        self._fill(now, self._policy.share)

    def take(self, now: float) -> bool:
        """Pay for one extra request; return whether it may be sent."""
        self._fill(now, 0.0)
        if self._level < 1.0:
            self._refused += 1
            return False
        self._level -= 1.0
        self._taken += 1
        return True

    def statistics(self, now: float) -> ThrottleStatistics:
        """Return the counts and what is left."""
        self._fill(now, 0.0)
        return ThrottleStatistics(
            calls=self._calls, taken=self._taken, refused=self._refused, level=self._level
        )

    def _fill(self, now: float, amount: float) -> None:
        amount += self._policy.min_per_s * max(0.0, now - self._at)
        self._level = min(self._policy.burst, self._level + amount)
        self._at = max(self._at, now)


@attrs.frozen
class RetryDecision:
    """Whether a call is retried.

    Args:
        pause_s: seconds until the retry. Without a retry: the pause that there would have been, or
            that the provider asks for, which may be infinite; other calls may have to keep it.
        gives_up: why the call is not retried; None if it is.
    """

    pause_s: float
    gives_up: GiveUp | None = None


@attrs.frozen(kw_only=True)
class BudgetStatistics:
    """What one call has spent.

    Args:
        attempts: HTTP requests sent or paid for: 1 + retries + hedges + fallbacks.
        left: HTTP requests that may follow.
        retries: requests sent to the same target after a pause.
        hedges: second copies sent while the first was in flight.
        fallbacks: requests sent to another target.
        waited_s: the sum of all pauses, in seconds.
    """

    attempts: int
    left: int
    retries: int
    hedges: int
    fallbacks: int
    waited_s: float


class RetryBudget:
    """The HTTP requests that one call may send: retries, hedges and fallbacks alike (L2).

    The first request of the call is always allowed, and counted from the start.

    Args:
        policy: how many requests, and how long the pauses.
        now: the present, in seconds on the throttle's clock.
        throttle: bounds the extra requests of all calls together; None for no such bound.
    """

    def __init__(
        self, policy: RetryPolicy, now: float, throttle: RetryThrottle | None = None
    ) -> None:
        self._policy = policy
        self._throttle = throttle
        self._spent: dict[Extra, int] = {"retry": 0, "hedge": 0, "fallback": 0}
        self._in_a_row = 0  # retries at the present target; they set the back-off
        self._waited_s = 0.0
        if throttle is not None:
            throttle.deposit(now)

    def __repr__(self) -> str:
        return f"<RetryBudget {self.attempts} of {self._policy.max_attempts}>"

    @property
    def attempts(self) -> int:
        """HTTP requests sent or paid for."""
        return 1 + sum(self._spent.values())

    @property
    def left(self) -> int:
        """HTTP requests that may follow."""
        return self._policy.max_attempts - self.attempts

    def take(self, extra: Extra, now: float, *, reserve: int = 0) -> bool:
        """Pay for one extra request; return whether it may be sent.

        Args:
            extra: why it is sent.
            now: the present, in seconds on the throttle's clock.
            reserve: requests to keep for later, such as one for each later target.
        """
        if self.left <= reserve or not (self._throttle is None or self._throttle.take(now)):
            return False
        self._spent[extra] += 1
        if extra == "fallback":
            self._in_a_row = 0  # at the next target the back-off starts over
        return True

    def retry(
        self,
        now: float,
        random: Random,
        *,
        server_s: float | None = None,
        left_s: float = inf,
        reserve: int = 0,
    ) -> RetryDecision:
        """Decide whether a failed call is retried, and pay for the retry.

        Args:
            now: the present, in seconds on the throttle's clock.
            random: the source of the jitter (R13).
            server_s: the pause that the provider asks for, in seconds; None if it asks for none.
            left_s: seconds until the deadline.
            reserve: requests to keep for later, such as one for each later target.
        """
        if self._policy.is_too_long(server_s):
            return RetryDecision(server_s or 0.0, "server")
        if self.left <= reserve:
            return RetryDecision(server_s or 0.0, "attempts")
        pause = self._policy.backoff(self._in_a_row + 1, server_s, random)
        if pause >= left_s:
            return RetryDecision(pause, "deadline")
        if not self.take("retry", now, reserve=reserve):
            return RetryDecision(pause, "throttle")
        self._in_a_row += 1
        self._waited_s += pause
        return RetryDecision(pause)

    def statistics(self) -> BudgetStatistics:
        """Return what the call has spent, and what is left."""
        return BudgetStatistics(
            attempts=self.attempts,
            left=self.left,
            retries=self._spent["retry"],
            hedges=self._spent["hedge"],
            fallbacks=self._spent["fallback"],
            waited_s=self._waited_s,
        )
