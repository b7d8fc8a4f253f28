"""A token bucket of which processes lease parts, and its recent minima. Pure (R14).

It is the bucket of `rate_limit.bucket` (the generic cell rate algorithm), but what is debited is
used later, when the lease allows it. So it knows what is missing by use, and which leases are *in
line*: those that cannot be used up before some time U. Until then, of a lease of A,

    min(A, (U - t) rate + c)    cannot have been used, where a call of c waits for its last part

What is missing follows from that by Lindley's recursion (the bucket refills while a lease in line
cannot be used), and so does F, the time at which the bucket is full if all leases are used:

    used(t) = max(0, (F - t) rate)    a lease of A at t: at_once = depth - used(t)

If nothing is given back, F is max(F, t) + A / rate after a lease, as in `Bucket`.
"""

from math import floor, inf
from typing import final

_LONG_S = 0.25  # by which a lease in line could be used earlier, and is worth a question
_EARLIER_S = 0.1  # as much, if the bucket is full meanwhile
_HINT_S = 0.1  # between hints of places in line that were left
_ROUNDING = 1e-9
_SLOT_S = 0.05  # of minima
_MOST_LOWS = 16
_MOST_IN_LINE = 16


@final
class SharedBucket:
    """The state of one shared limit.

    Args:
        rate: how much it refills a second; more than 0.
        depth: how much it holds; more than 0.
        full_at: the time at which it is full.
        now: the current time, in seconds.
    """

    __slots__ = (
        "_at", "_missing", "depth", "full_at", "hinted_at", "line", "lows", "rate", "touched",
        "was_full_at",
    )  # fmt: skip

    def __init__(self, rate: float, depth: float, full_at: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self.full_at = full_at
        self.was_full_at = now  # the last time at which a debit found it full
        self.touched = now
        self.hinted_at = now  # when those in line were last told to ask again
        self._at = now  # the time of what follows
        self._missing = (full_at - now) * rate  # by use, without what is in line
        # (until, amount, first call, worker) of leases in line, by time
        self.line: list[tuple[float, float, float, str]] = []
        # [time, minimum, time, minimum, ...]: what was missing by use, before debits
        self.lows: list[float] = []

    def used(self, now: float) -> float:
        """Return what is missing from a full bucket, what is in line included."""
        return max(0.0, (self.full_at - now) * self.rate)

    def set(self, rate: float, depth: float, now: float) -> None:
        """Change rate and depth; what is missing stays missing."""
        if rate != self.rate:
            self._advance(now)
            ratio = self.rate / rate
            self.line = [
                (now + (until - now) * ratio, amount, first, worker)
                for until, amount, first, worker in self.line
            ]
            self.rate = rate
            self._project()
        self.depth = depth
        self.touched = now

    def fill_later(self, full_at: float, now: float) -> None:
        """Be full at that time at the earliest."""
        if full_at > self.full_at:
            self._advance(now)
            in_line = 0.0
            for _, amount, _, _ in self.line:
                in_line += amount
            self._missing = max(self._missing, (full_at - now) * self.rate - in_line)
            self._project()

    def take(self, amount: float, now: float) -> None:
        """Debit an amount that was used."""
        self._advance(now)
        self._note_low(self._missing, now)
        self._missing += amount
        self._project()

    def lease(
        self,
        worker: str,
        amount: float,
        first: float,
        now: float,
        place: tuple[float, float] = (inf, 0.0),
    ) -> float:
        """Lease an amount; return how much of it can be used at once.

        Who has left the line in the same question has its place there still, for as much as it
        left with: it is not later than before, so that those behind have what they were told.

        Args:
            worker: the process that leases it.
            amount: how much is leased.
            first: how much of that the first call takes.
            now: the current time.
            place: until when the process could not use what it has left the line with, and how
                much that was.
        """
        self._advance(now)
        at_once = self.depth - self.used(now)
        self._note_low(self._missing, now)
        needed = self.needed(amount, first)
        told, held = place
        if amount <= held * (1.0 + _ROUNDING):
            missing, at = self._flow(inf, before=told)
            ahead = self.depth - max(0.0, missing + (at - now) * self.rate)
            if now + (needed - ahead) / self.rate <= told + _ROUNDING:
                at_once = ahead
        in_line = 0.0
        if at_once < needed:
            in_line = min(amount, needed - at_once + first)
            self._stand(now + (needed - at_once) / self.rate, in_line, first, worker)
        self._missing += amount - in_line
        self._project()
        return at_once

    def needed(self, amount: float, first: float) -> float:
        """Return how much must be usable before all of a lease is used.

        The last part is needed when its call is, and a call of more than the depth is admitted
        when as much as the depth could be used.

        Args:
            amount: how much is leased.
            first: how much of that the first call takes.
        """
        return min(first, self.depth) if amount <= first else amount

    def gains(
        self, amount: float, first: float, at_once: float, place: tuple[float, float], now: float
    ) -> bool:
        """Return whether a lease leaves room in line that was there before it was returned.

        Args:
            amount: how much is leased.
            first: how much of that the first call takes.
            at_once: how much of it can be used at once.
            place: the place that the process has left.
            now: the current time.
        """
        told, held = place
        until = now + (self.needed(amount, first) - at_once) / self.rate
        return held > 0.0 and (amount < held * (1.0 - _ROUNDING) or until < told - _EARLIER_S)

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Refund an amount that was debited at `since`.

        The refund is at most the least that was missing since then, as in `Bucket.give_back`. What
        was in line was not used, so it does not count as missing.
        """
        self._advance(now)
        lows, least = self.lows, self._missing
        if self.was_full_at > since:
            least = 0.0
        for at in range(0, len(lows), 2):
            if lows[at] > since:
                least = min(least, lows[at + 1])
        given = min(amount, least)
        if given > 0.0:
            lowest, kept = inf, list[float]()
            for at in range(len(lows) - 2, -1, -2):
                low = lows[at + 1] - given if lows[at] > since else lows[at + 1]
                if low < lowest:  # else a later one says as much
                    lowest = low
                    kept += (low, lows[at])
            kept.reverse()
            self.lows = kept
            self._missing -= given
            self._project()

    def leave_line(self, worker: str, amount: float, now: float) -> tuple[float, float, float]:
        """Return what a process leased and has in line; what it keeps of that was used.

        Returns:
            How much of the amount that was; and the place that is left: until when the first of it
            could not be used, and how much that was.
        """
        self._advance(now)
        left, told, held = amount, inf, 0.0
        used, kept = 0.0, list[tuple[float, float, float, str]]()
        for at in range(len(self.line) - 1, -1, -1):
            until, leased, _, whose = self.line[at]
            if whose != worker:
                kept.append(self.line[at])
                continue
            gone = min(left, leased)
            if gone > 0.0:
                told, held = until, gone
            left -= gone
            used += leased - gone
        if left < amount:
            kept.reverse()
            self.line = kept
            if used > 0.0:
                self._note_low(self._missing, now)
                self._missing += used
            self._project()
        return amount - left, told, held

    def lets_wait(self, *, at_once: bool) -> bool:
        """Return whether one in line could be used earlier than it was told, and must hear that.

        Args:
            at_once: whether to say so again soon after the last time.
        """
        missing, at, rate, depth = self._missing, self._at, self.rate, self.depth
        if not at_once and at - self.hinted_at < _HINT_S:
            return False
        for until, amount, first, _ in self.line:
            last = min(first, amount)
            part = amount - last
            told = until - part / rate
            full, room = at + missing / rate, max(0.0, depth - first)
            if told > max(at, full - room / rate) + _LONG_S or told > full + _EARLIER_S:
                self.hinted_at = self._at
                return True
            start = max(at, told)
            missing = max(0.0, missing - rate * (start - at))
            missing = max(0.0, missing + part - rate * (until - start)) + last
            at = until
        return False

    def _stand(self, until: float, amount: float, first: float, worker: str) -> None:
        """Put a lease in line. Of too many, the first two become one, as late as the second."""
        line = self.line
        line.append((until, amount, first, worker))
        at = len(line) - 1
        while at > 0 and line[at - 1][0] > until:
            line[at - 1], line[at] = line[at], line[at - 1]
            at -= 1
        if len(line) > _MOST_IN_LINE:
            (_, one, its, _), (until, other, first, _) = line[:2]
            line[:2] = [(until, one + other, max(its, first), "")]

    def _flow(self, now: float, *, notes: bool = False, before: float = inf) -> tuple[float, float]:
        """Return what is missing when those in line have used what they can by then, and when.

        Args:
            now: the time by then; infinity for the end of the line.
            notes: whether to note what is missing before each of them.
            before: only those that can be used up before that time.
        """
        missing, at, rate = self._missing, self._at, self.rate
        for until, amount, first, _ in self.line:
            if until >= before:
                break
            if until <= now:
                end, last = until, min(first, amount)
                part = amount - last
            else:
                end, last = now, 0.0
                part = amount - min(amount, (until - now) * rate + first)
            start = max(at, end - part / rate)
            missing = max(0.0, missing - rate * (start - at))
            if notes:
                self._note_low(missing, start)
            missing = max(0.0, missing + part - rate * (end - start)) + last
            at = end
        return missing, at

    def _advance(self, now: float) -> None:
        """Let time pass."""
        missing, at = self._flow(now, notes=True)
        self._missing = max(0.0, missing - self.rate * (now - at))
        self._at = now
        if self.line:
            self.line = [
                (until, min(amount, (until - now) * self.rate + first), first, worker)
                for until, amount, first, worker in self.line
                if until > now
            ]

    def _project(self) -> None:
        missing, at = self._flow(inf)
        self.full_at = at + missing / self.rate

    def _note_low(self, low: float, now: float) -> None:
        """Note what is missing, if it is more than before: nothing else bounds a later refund.

        Two minima that are merged have the later time and the lower value, which is too low at
        most. Those of one slot are; and of too many, the two that differ least for their age.
        """
        lows = self.lows
        if low <= 0.0:
            self.was_full_at = now
            self.lows = []
            return
        while lows and lows[-1] >= low:
            del lows[-2:]
        if lows and floor(lows[-2] / _SLOT_S) == floor(now / _SLOT_S):
            lows[-2] = now
            return
        lows += (now, low)
        if len(lows) > 2 * _MOST_LOWS:
            found, least = 0, inf
            for at in range(0, len(lows) - 2, 2):
                apart = (lows[at + 2] - lows[at]) / (now - lows[at] + _SLOT_S)
                if apart < least:
                    found, least = at, apart
            lowest = min(lows[found + 1], lows[found + 3])
            lows[found : found + 4] = [lows[found + 2], lowest]
