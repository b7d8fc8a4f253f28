"""How often and how late a call is tried again, and what a provider says about it. Pure (R14)."""

from math import inf
from random import Random

import attrs
from attrs.validators import ge, instance_of, lt

__all__ = [
    "RetryPolicy",
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
