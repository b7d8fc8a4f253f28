"""A process of a test: it uses what it leased as the rules of `exchange` say, and no more."""

import attrs
from hypothesis import strategies as st

from callsheet.actors.rate_limit.shared import (
    UNUSED_S,
    Correction,
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    SharedRate,
)

ROUNDING = 1e-6
SOON = st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.2, 0.5, 1.0, 3.0, 11.0])
"""Seconds from one step of a test to the next."""

WORKER = st.integers(0, 3)
"""Which of four processes does a step."""


@attrs.define
class Held:
    """A lease, and how much of it was used or given back."""

    amount: float
    at_once: float
    rate: float
    at: float
    gone: float = 0.0

    def usable(self, now):
        return min(self.amount, self.at_once + self.rate * (now - self.at)) - self.gone

    def usable_at(self, amount, now):
        """Return when `amount` more can be used."""
        return max(now, self.at + (self.gone + amount - self.at_once) / self.rate)


class LeaseUser:
    """One process with one scope and one limit.

    Args:
        name: its name.
        rate: the rate of the limit.
        depth: the depth of the limit.
        lanes: the weights of its lanes, all of which have calls that wait.
    """

    def __init__(self, name, rate, depth, lanes=None, seconds=10.0):
        self.name, self.rate, self.depth = name, rate, depth
        self.lanes = {"lane": 1.0} if lanes is None else lanes
        self.seconds = seconds
        self.leases = []
        self.used = []  # [time, amount]
        self.corrections = []
        self.refunds = []  # of calls, with the time instead of the age
        self.number, self.epoch, self.seen, self.full_s = 0, "", 0, 0.0
        self.last = None

    def question(self, amount, first=1.0, age_s=0.0):
        self.number += 1
        self.last = LimitAsk(
            worker=self.name,
            number=self.number,
            epoch=self.epoch,
            seen=self.seen,
            rates=(SharedRate("limit", self.rate, self.depth, self.full_s),),
            leases=(LeaseAsk("", {"limit": amount}, {"limit": first}),) if amount else (),
            corrections=tuple(self.corrections),
            lanes=tuple(
                LaneDemand("", lane, weight, self.seconds, age_s)
                for lane, weight in self.lanes.items()
            ),
        )
        self.corrections = []
        return self.last

    def apply(self, grant, now):
        self.epoch, self.seen, self.full_s = grant.epoch, grant.seen, grant.full["limit"]
        for lease in grant.leases:
            self.leases.append(Held(lease.amount, lease.at_once, lease.rate, now))
        return grant

    def forfeit(self, now):
        """Forget what could be used for so long that it must not be used now."""
        for held in self.leases:
            late = held.at_once + held.rate * (now - UNUSED_S - held.at)
            if now - held.at > UNUSED_S:
                held.gone = max(held.gone, min(held.amount, late))
        self.leases = [held for held in self.leases if held.amount - held.gone > ROUNDING]

    def use(self, part, now):
        """Use a part of what can be used now."""
        self.forfeit(now)
        for held in self.leases:
            amount = part * max(0.0, held.usable(now))
            if amount:
                held.gone += amount
                self.used.append([now, amount])

    def use_calls(self, now):
        """Use whole calls of 1; return how many."""
        calls = 0
        while sum(max(0.0, held.usable(now)) for held in self.leases) >= 1.0 - ROUNDING:
            need = 1.0
            for held in self.leases:
                taken = min(need, max(0.0, held.usable(now)))
                held.gone += taken
                need -= taken
            calls += 1
        self.leases = [held for held in self.leases if held.amount - held.gone > ROUNDING]
        return calls

    def next_call_at(self, now):
        """Return when the next call can be made; None if it is not leased."""
        need, at = 1.0, now
        for held in sorted(self.leases, key=lambda held: held.usable_at(0.0, now)):
            part = min(need, held.amount - held.gone)
            at = max(at, held.usable_at(part, now))
            need -= part
            if need <= ROUNDING:
                return at
        return None

    @property
    def left(self):
        return sum(held.amount - held.gone for held in self.leases)

    def give_back(self, now):
        """Give back what is leased and not used."""
        self.forfeit(now)
        for held in self.leases:
            self.corrections.append(
                Correction("limit", -(held.amount - held.gone), now - held.at, unused=True)
            )
        self.leases = []

    def refund(self, part, now):
        """Report of the last use that it took less than it reserved."""
        if self.used:
            at, amount = self.used[-1]
            self.used[-1][1] = amount * (1.0 - part)
            self.corrections.append(Correction("limit", -amount * part, now - at))

    def call(self, part, now):
        """Make the call that is leased if it is time; return what it really uses of its lease."""
        self.leases = [held for held in self.leases if now < self.latest(held)]
        for held in self.leases:
            if held.usable(now) >= min(held.amount, self.depth) - ROUNDING:
                self.leases.remove(held)
                self.refunds.append(Correction("limit", -held.amount * (1.0 - part), now))
                return held.amount * part
        return None

    def latest(self, held):
        """Return until when a call must be made."""
        return held.usable_at(min(held.amount, self.depth), held.at) + UNUSED_S

    def refund_calls(self, now):
        self.corrections += [
            attrs.evolve(refund, age_s=now - refund.age_s) for refund in self.refunds
        ]
        self.refunds = []

    def leave_line(self, now):
        """Leave the line with what cannot be used yet."""
        for held in list(self.leases):
            if held.usable(now) <= 0.0:
                self.leases.remove(held)
                age_s = now - held.at
                self.corrections.append(Correction("limit", -held.amount, age_s, unused=True))


def excess(used, rate, depth):
    """Return by how much a bucket was overdrawn that refills continuously, by (time, amount)."""
    missing, last, worst = 0.0, 0.0, 0.0
    for at, amount in sorted(used):
        missing = max(0.0, missing - rate * (at - last)) + amount
        last = at
        worst = max(worst, missing - depth)
    return worst
