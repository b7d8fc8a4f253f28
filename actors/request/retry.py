"""What a call, and all calls together, may spend on being sent more than once (L2). Pure (R14).

A retry, a hedge and a fallback all send a request that nobody would have sent had the first one
been answered. One budget pays for all of them, so no two of these can multiply.

How often and how late a call is tried again, and what a provider says about it. Pure (R14).
"""

from math import inf
from random import Random
from typing import Literal

import attrs
from attrs.validators import ge, instance_of, lt

__all__ = [
    "BudgetStatistics",
    "Extra",
    "GiveUp",
    "RetryBudget",
    "RetryDecision",
    "RetryPolicy",
    "RetryThrottle",
    "ThrottlePolicy",
    "ThrottleStatistics",
]


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """The one retry budget of the whole way of a call (L2): no other stage retries.

    Args:
        max_attempts: HTTP requests for one call at most, the first included.
        base_s: the longest pause before the second attempt, in seconds; it doubles each time.
        cap_s: the longest pause of one's own accord, in seconds.
        max_server_s: the longest pause that a provider may ask for, in seconds; if it asks for
            more, the call fails now instead of then.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    max_attempts: int = attrs.field(default=5, validator=[instance_of(int), ge(1)])
    base_s: float = attrs.field(default=0.5, validator=[ge(0), lt(inf)])
    cap_s: float = attrs.field(default=8.0, validator=[ge(0), lt(inf)])
    max_server_s: float = attrs.field(default=120.0, validator=ge(0))

    def pause(self, attempts: int, server_s: float | None, random: Random) -> float | None:
        """Seconds to wait after so many attempts, the last of which failed; None to give up.

        Args:
            attempts: HTTP requests made so far, at least 1.
            server_s: what the provider asked for, in seconds; None if it said nothing.
            random: the source of the jitter (R13).
        """
        if attempts >= self.max_attempts or self.is_too_long(server_s):
            return None
        return self.backoff(attempts, server_s, random)

    def backoff(self, failures: int, server_s: float | None, random: Random) -> float:
        """Seconds to wait after so many failures in a row, if there is another attempt.

        Exponential back-off with full jitter: uniform between 0 and min(cap, base x 2^(k-1))
        after failure k (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015). What the
        provider asks for is a minimum; the jitter of the first pause is added to it, so that
        those who were refused together do not come back together. To ask for 0 seconds, or for a
        date that has passed, is to ask for nothing: the back-off holds, or a provider that always
        says so would be asked again and again without one.

        Args:
            failures: at least 1.
            server_s: what the provider asked for, in seconds; None if it said nothing.
            random: the source of the jitter (R13).
        """
        if not server_s:
            return random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 60)))
        return server_s + random.uniform(0.0, self.base_s)

    def is_too_long(self, server_s: float | None) -> bool:
        """Whether the provider asks for a longer pause than it may."""
        return server_s is not None and (server_s > self.max_server_s or server_s == inf)


Extra = Literal["retry", "hedge", "fallback"]
"""Why a request is sent that is not the first of its call."""

GiveUp = Literal[
    "attempts",  # they are used up, or kept for the targets behind
    "server",  # the provider asks for a longer pause than it may
    "deadline",  # the pause would last until the deadline, or beyond it (L1)
    "throttle",  # all calls together try again too often
]
"""Why there is no retry."""


@attrs.frozen(kw_only=True)
class ThrottlePolicy:
    """How many requests may be sent beyond the first of each call, over all calls.

    Args:
        share: extra requests that a call pays for; 0.2 allows 20 % more.
        min_per_s: extra requests a second that are allowed however few calls there are.
        burst: extra requests that may be saved up, and are there at the start.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    share: float = attrs.field(default=0.2, validator=[ge(0), lt(inf)])
    min_per_s: float = attrs.field(default=10.0, validator=[ge(0), lt(inf)])
    burst: float = attrs.field(default=100.0, validator=[ge(1), lt(inf)])


@attrs.frozen(kw_only=True)
class ThrottleStatistics:
    """What a throttle has seen.

    Args:
        calls: how many have begun.
        taken: extra requests it allowed.
        refused: extra requests it did not allow.
        level: how many it would allow now.
    """

    calls: int
    taken: int
    refused: int
    level: float


class RetryThrottle:
    """Keeps retries from becoming the load that the provider fails under.

    A token bucket that each call pays `share` into and each extra request takes 1 from, with a
    trickle for callers that are seldom there: Finagle's retry budget (K. Oliver, "Retry Budgets",
    2016; 20 % and 10 a second are its defaults), to the same end as gRPC's retry throttling
    (proposal A6). Theirs forget what was saved up after a while; here the depth bounds it. In t
    seconds with n calls it allows at most burst + share x n + min_per_s x t.

    Args:
        policy: how many.
        now: the present, in seconds of any clock that does not go back.
    """

    def __init__(self, policy: ThrottlePolicy, now: float) -> None:
        self._policy = policy
        self._level = policy.burst
        self._at = now
        self._calls = self._taken = self._refused = 0

    def __repr__(self) -> str:
        return f"<RetryThrottle {self._level:.1f} left, {self._taken} taken>"

    def deposit(self, now: float) -> None:
        """A call has begun."""
        self._calls += 1
        self._fill(now, self._policy.share)

    def take(self, now: float) -> bool:
        """Whether one more request may be sent; if so, it is paid for."""
        self._fill(now, 0.0)
        if self._level < 1.0:
            self._refused += 1
            return False
        self._level -= 1.0
        self._taken += 1
        return True

    def statistics(self, now: float) -> ThrottleStatistics:
        """What it has seen, and what is left."""
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
    """Whether a call is tried again.

    Args:
        pause_s: seconds until then; if there is no retry, how long the wait would have been, or
            how long the provider asks for, perhaps for ever: others may have to heed it.
        gives_up: why it is not tried again; None if it is.
    """

    pause_s: float
    gives_up: GiveUp | None = None


@attrs.frozen(kw_only=True)
class BudgetStatistics:
    """What one call has spent.

    Args:
        attempts: HTTP requests made or on their way: 1 + retries + hedges + fallbacks.
        left: how many more there may be.
        retries: sent again to the same target after a pause.
        hedges: sent as a second copy while the first was under way.
        fallbacks: sent to another target.
        waited_s: all its pauses, in seconds.
    """

    attempts: int
    left: int
    retries: int
    hedges: int
    fallbacks: int
    waited_s: float


class RetryBudget:
    """What one call may spend on being sent more than once, whoever wants to send it (L2).

    It begins with the call's first request, which is always free to go.

    Args:
        policy: how many requests and how long the pauses.
        now: the present, in seconds on the throttle's clock.
        throttle: shared by all calls; None for no limit but the call's own.
    """

    def __init__(
        self, policy: RetryPolicy, now: float, throttle: RetryThrottle | None = None
    ) -> None:
        self._policy = policy
        self._throttle = throttle
        self._spent: dict[Extra, int] = {"retry": 0, "hedge": 0, "fallback": 0}
        self._in_a_row = 0  # retries of the present target: what the back-off doubles with
        self._waited_s = 0.0
        if throttle is not None:
            throttle.deposit(now)

    def __repr__(self) -> str:
        return f"<RetryBudget {self.attempts} of {self._policy.max_attempts}>"

    @property
    def attempts(self) -> int:
        """HTTP requests made or on their way."""
        return 1 + sum(self._spent.values())

    @property
    def left(self) -> int:
        """How many more there may be."""
        return self._policy.max_attempts - self.attempts

    def take(self, extra: Extra, now: float, *, reserve: int = 0) -> bool:
        """Whether one more request may be sent at once; if so, it is paid for.

        Args:
            extra: why.
            now: the present.
            reserve: how many requests are kept for later, such as one for each target behind.
        """
        if self.left <= reserve or not (self._throttle is None or self._throttle.take(now)):
            return False
        self._spent[extra] += 1
        if extra == "fallback":
            self._in_a_row = 0  # the next target has refused nothing yet
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
        """Whether a call that failed, and may be tried again, is; if so, it is paid for.

        Args:
            now: the present.
            random: the source of the jitter (R13).
            server_s: what the provider asked for, in seconds; None if it said nothing.
            left_s: seconds until the deadline.
            reserve: how many requests are kept for later, such as one for each target behind.
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
        """What it has spent, and what is left."""
        return BudgetStatistics(
            attempts=self.attempts,
            left=self.left,
            retries=self._spent["retry"],
            hedges=self._spent["hedge"],
            fallbacks=self._spent["fallback"],
            waited_s=self._waited_s,
        )
