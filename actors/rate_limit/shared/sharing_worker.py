"""What the state of shared limits knows of one process, and of one refusal. Pure (R14)."""

from typing import final

import attrs

from .division import Claim
from .exchange import Lease, LimitAsk

_MOST_IN_LINE = 16  # two numbers for each lease


@final
@attrs.define(eq=False)
class SharingWorker:
    """What is known of a process.

    Args:
        name: the name of the process.
        number: the number of its last question.
        at: when it asked.
        live: whether it counts, because it asked lately.
        claims: its demand, as added to the totals.
        scopes: the scopes that it named.
        line: what it has in line, {scope: [until, seconds, until, seconds, ...]}.
        leases: the leases of its last grant.
        parts: the parts of its last grant.
        windows: the windows of its last grant.
        places: the places of its last grant.
    """

    name: str
    number: int
    at: float
    live: bool = True
    claims: list[Claim] = attrs.field(factory=list[Claim])
    scopes: list[str] = attrs.field(factory=list[str])
    line: dict[str, list[float]] = attrs.field(factory=dict[str, list[float]])
    leases: list[Lease] = attrs.field(factory=list[Lease])
    parts: dict[str, float] = attrs.field(factory=dict[str, float])
    windows: dict[str, float] = attrs.field(factory=dict[str, float])
    places: dict[str, int] = attrs.field(factory=dict[str, int])

    def in_line_s(self, scope: str, now: float) -> float:
        """Return how many seconds of a limit it has leased that cannot be used yet."""
        line = self.line.get(scope, [])
        kept, seconds = list[float](), 0.0
        for at in range(0, len(line), 2):
            if line[at] > now:
                kept += (line[at], line[at + 1])
                seconds += min(line[at + 1], line[at] - now)
        self.line[scope] = kept
        return seconds

    def stand_in_line(self, scope: str, until: float, seconds: float) -> None:
        """Record a lease that cannot be used up before `until`."""
        line = self.line[scope]
        if len(line) >= _MOST_IN_LINE:
            seconds += line.pop()
            line.pop()
        line += (until, seconds)

    def die(self) -> None:
        """Free all that it holds; its leases stay used."""
        self.live = False
        self.claims, self.scopes, self.line = [], [], {}
        self.places = dict.fromkeys(self.places, 0)


@final
@attrs.define
class FreedPlaces:
    """What one question gives back.

    Args:
        places: the places in line that it leaves, {limit: (until when nothing of it could be used,
            how much that was)}.
        limits: the limits of which it has an earlier place, or a smaller one.
        refunds: the limits of which something was refunded.
    """

    places: dict[str, tuple[float, float]] = attrs.field(factory=dict[str, tuple[float, float]])
    limits: set[str] = attrs.field(factory=set[str])
    refunds: set[str] = attrs.field(factory=set[str])


@attrs.frozen
class DatedRefusal:
    """A refusal, with absolute times.

    Args:
        number: how many were reported until then, this one included.
        worker: the process that reported it.
        scope: the scope of the refused call.
        why: the kind of refusal.
        until: when the pause ends.
        sent_at: when the call was admitted.
        at: when it was reported.
    """

    number: int
    worker: str
    scope: str
    why: str
    until: float
    sent_at: float
    at: float


def scopes_of(ask: LimitAsk) -> list[str]:
    """Return the scopes that a question names, each once.

    Args:
        ask: the question of a process.
    """
    named: dict[str, None] = {}
    for lane in ask.lanes:
        named[lane.scope] = None
    for lease in ask.leases:
        named[lease.scope] = None
    for places in ask.places:
        named[places.scope] = None
    return list(named)
