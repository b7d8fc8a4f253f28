"""A token bucket of which processes lease parts, as one number and its recent minima. Pure (R14).

It is the bucket of `rate_limit.bucket` (the generic cell rate algorithm), but what is debited is
used later, when the lease allows it. So part of what is missing is only *in line*: it cannot have
been used yet. With F the time at which the bucket is full,

    used(t) = max(0, (F - t) rate)              what is missing, leases included
    line(t) = sum of min(A, (U - t) rate + c)   for leases of A that cannot be used up before U > t,
                                                of which a call of c may wait for its last part
    a lease of A at t: at_once = depth - used(t), then F becomes max(F, t) + A / rate

What a provider misses is used - line, by Lindley's recursion: it refills while a lease in line is
not used. What is given back may move F to where it would be then, and no further.
"""

from typing import final

_NEAR_S = 0.05  # minima closer together are one
_MOST_LOWS = 16
_MOST_IN_LINE = 32


@final
class SharedBucket:
    """The state of one shared limit.

    Args:
        rate: how much it refills a second; more than 0.
        depth: how much it holds; more than 0.
        full_at: the time at which it is full.
        now: the current time, in seconds.
    """

    __slots__ = ("depth", "full_at", "line", "lows", "rate", "touched", "was_full_at")

    def __init__(self, rate: float, depth: float, full_at: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self.full_at = full_at
        self.was_full_at = now  # the last time at which a debit found it full
        self.touched = now
        # [time, minimum, time, minimum, ...]: what was missing and not in line, before debits
        self.lows: list[float] = []
        # (until, amount, first call, worker) of leases that cannot be used up yet, by time
        self.line: list[tuple[float, float, float, str]] = []

    def used(self, now: float) -> float:
        """Return what is missing from a full bucket."""
        return max(0.0, (self.full_at - now) * self.rate)

    def set(self, rate: float, depth: float, now: float) -> None:
        """Change rate and depth; what is missing stays missing."""
        if rate != self.rate:
            ratio = self.rate / rate
            self.line = [
                (now + (until - now) * ratio, amount, first, worker)
                for until, amount, first, worker in self.line
            ]
            self.full_at = now + max(0.0, self.full_at - now) * ratio
            self.rate = rate
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
            self._note_low(max(0.0, used - self._in_line(now)), now)
        self.full_at = max(self.full_at, now) + amount / self.rate
        return used

    def lease(self, worker: str, amount: float, first: float, now: float) -> float:
        """Lease an amount; return how much of it can be used at once.

        Args:
            worker: the process that leases it.
            amount: how much is leased.
            first: how much of that the first call takes.
            now: the current time.
        """
        at_once = self.depth - self.take(amount, now)
        # The last part is needed when its call is, and a call of more than the depth is admitted
        # when as much as the depth could be used.
        needed = min(first, self.depth) if amount <= first else amount
        if at_once < needed:
            line = self.line
            line.append((now + (needed - at_once) / self.rate, amount, first, worker))
            at = len(line) - 1
            while at > 0 and line[at - 1][0] > line[at][0]:
                line[at - 1], line[at] = line[at], line[at - 1]
                at -= 1
            if len(line) > _MOST_IN_LINE:
                (_, one, its, _), (until, other, first, _) = line[:2]
                line[:2] = [(until, one + other, max(its, first), "")]
        return at_once

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Refund an amount that was debited at `since`.

        The refund is at most the least that was missing since then, as in `Bucket.give_back`. What
        was in line was not used, so it does not count as missing.
        """
        least = missing = self.used(now) - self._in_line(now)
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
            self._move_up(given, missing - given, now)

    def leave_line(self, worker: str, amount: float, now: float) -> float:
        """Return what a process leased and has in line; return how much of the amount that was."""
        missing, left = max(0.0, self.used(now) - self._in_line(now)), amount
        kept: list[tuple[float, float, float, str]] = []
        for at in range(len(self.line) - 1, -1, -1):
            until, leased, first, whose = self.line[at]
            if whose == worker:
                gone = min(left, self._unused(until, leased, first, now))
                left -= gone
                leased -= gone
            if leased > 0.0:
                kept.append((until, leased, first, whose))
        kept.reverse()
        self.line = kept
        if amount > left:
            self._move_up(amount - left, missing, now)
        return amount - left

    def _move_up(self, given: float, missing: float, now: float) -> None:
        """Be full earlier, but not before the bucket is that those in line leave."""
        at = now
        for until, leased, first, _ in self.line:
            missing = max(0.0, missing - self.rate * (until - at))
            missing += self._unused(until, leased, first, now)
            at = until
        full_at = max(self.full_at - given / self.rate, at + missing / self.rate)
        self.full_at = min(self.full_at, full_at)

    def _in_line(self, now: float) -> float:
        """Return how much of what is missing cannot have been used."""
        line = self.line
        while line and line[0][0] <= now:
            del line[0]
        amount = 0.0
        for until, leased, first, _ in line:
            amount += self._unused(until, leased, first, now)
        return amount

    def _unused(self, until: float, leased: float, first: float, now: float) -> float:
        return min(leased, (until - now) * self.rate + first)

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
