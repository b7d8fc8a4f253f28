"""A token bucket of which processes lease parts, as one number and its recent minima. Pure (R14).

It is the bucket of `rate_limit.bucket` (the generic cell rate algorithm), but what is debited is
used later, when the lease allows it. So part of what is missing is only *in line*: it cannot have
been used yet. With F the time at which the bucket is full, and Y the time from which all that is
leased could be used,

    used(t) = max(0, (F - t) rate)       what is missing, leases included
    line(t) = max(0, (Y - t) rate)       what of that is in line
    a lease of A at t: at_once = depth - used(t), then F becomes max(F, t) + A / rate
"""

from typing import final

_NEAR_S = 0.05  # minima closer together are one
_MOST_LOWS = 16


@final
class SharedBucket:
    """The state of one shared limit.

    Args:
        rate: how much it refills a second; more than 0.
        depth: how much it holds; more than 0.
        full_at: the time at which it is full.
        now: the current time, in seconds.
    """

    __slots__ = ("depth", "full_at", "line_until", "lows", "rate", "touched", "was_full_at")

    def __init__(self, rate: float, depth: float, full_at: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self.full_at = full_at
        self.was_full_at = now  # the last time at which a debit found it full
        self.line_until = now
        self.touched = now
        # [time, minimum, time, minimum, ...]: what was missing and not in line, before debits
        self.lows: list[float] = []

    def used(self, now: float) -> float:
        """Return what is missing from a full bucket."""
        return max(0.0, (self.full_at - now) * self.rate)

    def set(self, rate: float, depth: float, now: float) -> None:
        """Change rate and depth; what is missing stays missing."""
        if rate != self.rate:
            used, line = self.used(now), self._line(now)
            self.rate = rate
            self.full_at = now + used / rate
            self.line_until = now + line / rate
        self.depth = depth
        self.touched = now

    def fill_later(self, full_at: float) -> None:
        """Be full at that time at the earliest."""
        self.full_at = max(self.full_at, full_at)

    def take(self, amount: float, now: float) -> float:
        """Debit an amount; return what was missing before."""
        used = self.used(now)
        if used <= 0.0:
            self.was_full_at = now
            self.lows = []
        else:
            self._note_low(max(0.0, used - self._line(now)), now)
        self.full_at = max(self.full_at, now) + amount / self.rate
        return used

    def lease(self, amount: float, first: float, now: float) -> float:
        """Lease an amount; return how much of it can be used at once.

        Args:
            amount: how much is leased.
            first: how much of that the first call takes.
            now: the current time.
        """
        at_once = self.depth - self.take(amount, now)
        is_ready = at_once >= min(first, self.depth) and amount <= max(first, at_once)
        if not is_ready:
            self.line_until = max(self.line_until, now + (amount - at_once) / self.rate)
        return at_once

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Refund an amount that was debited at `since`.

        The refund is at most the least that was missing since then, as in `Bucket.give_back`. What
        was in line was not used, so it does not count as missing.
        """
        used = self.used(now)
        least = used - self._line(now)
        lows = self.lows
        if self.was_full_at > since:
            least = 0.0
        for at in range(0, len(lows), 2):
            if lows[at] > since:
                least = min(least, lows[at + 1])
        given = min(amount, least)
        if given > 0.0:
            for at in range(0, len(lows), 2):
                if lows[at] > since:
                    lows[at + 1] -= given
            self.full_at = now + (used - given) / self.rate

    def _line(self, now: float) -> float:
        return max(0.0, (self.line_until - now) * self.rate)

    def _note_low(self, low: float, now: float) -> None:
        """Keep a minimum. Two are merged to the later time and the lower value: too low at most."""
        lows = self.lows
        while lows and lows[-1] >= low:
            del lows[-2:]
        if lows and now - lows[-2] < _NEAR_S:
            lows[-2] = now
            return
        lows += (now, low)
        if len(lows) > 2 * _MOST_LOWS:
            lows[:4] = [lows[2], min(lows[1], lows[3])]
