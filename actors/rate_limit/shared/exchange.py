"""The store of shared limits as a protocol, and what a process and it say to each other.

All times are spans, in seconds, so that the clocks of machines need not agree: those of an ask are
seconds before it was sent, and those of a grant seconds after it arrived.

A *scope* is a model, or a group of models, of one member; "" stands for all of them. A *limit* is
named by a text that is the same in each process: member, scope, dimension and period.
"""

from contextlib import AbstractAsyncContextManager
from operator import attrgetter
from typing import Protocol

import attrs

LANES_ASKED = 64
"""The most lanes of a question; those with the least demand are taken as one."""

OVERFLOW = "\0"
"""The lane that stands for several that are taken as one."""

UNUSED_S = 0.25
"""Seconds for which a process may hold what it leased and could use."""


@attrs.frozen
class SharedRate:
    """A limit as it is set. That of the latest ask applies; what is used stays used.

    Args:
        limit: the name of the shared limit.
        rate: how much it refills a second.
        depth: how much it holds.
        full_s: seconds until it is full, as far as the process knows. A store that has lost its
            state takes the longest of these.
        least_full_s: seconds until it is full by what this process used while the store was away.
    """

    limit: str
    rate: float
    depth: float
    full_s: float = 0.0
    least_full_s: float = 0.0


@attrs.frozen
class LeaseAsk:
    """What the calls of one scope need beyond what is leased already.

    Args:
        scope: the scope of the calls.
        amounts: how much they need of each limit in all, {limit: amount}.
        first: how much the first of them needs, of the same limits. A lease has at least that,
            unless the process has much in line already: then there may be no lease.
    """

    scope: str
    amounts: dict[str, float]
    first: dict[str, float]


@attrs.frozen
class Correction:
    """What was taken of a limit, other than its lease.

    Args:
        limit: the name of the shared limit.
        amount: how much more was used than leased; negative for what is given back.
        age_s: seconds since it was used, or leased if it was not used, for what is given back: of
            a limit that was full since then, nothing can be given back.
        unused: whether it was leased and not used, rather than used and refunded. What is in line
            is given back first. The process may ask for it again at once, to be earlier in line.
    """

    limit: str
    amount: float
    age_s: float = 0.0
    unused: bool = False


@attrs.frozen
class LaneDemand:
    """The calls of one lane that wait, in one scope of one process.

    A process that uses a scope names it, with 0 seconds if no call waits.

    Args:
        scope: the scope of the calls.
        lane: the name of their lane.
        weight: the weight of the lane.
        seconds: how long the calls take of the limits of the scope if they use them alone.
        age_s: seconds since its first call came, with the head start of its priority.
        priority: the priority of the lane.
    """

    scope: str
    lane: str
    weight: float
    seconds: float
    age_s: float = 0.0
    priority: int = 0


@attrs.frozen
class PlacesAsk:
    """The calls in flight of a scope.

    Args:
        scope: the scope; "" for all calls.
        most: the most calls in flight of all processes together.
        held: the number in flight here.
        wanted: the number that would be in flight here without this limit.
    """

    scope: str
    most: float
    held: int
    wanted: int


@attrs.frozen
class SharedRefusal:
    """A call that the provider refused, for the other processes.

    Args:
        scope: the scope of the call.
        why: "too_fast" or "too_many"; see `Throttled`.
        pause_s: seconds for which no call of the scope is admitted.
        age_s: seconds since the refused call was admitted.
    """

    scope: str
    why: str
    pause_s: float
    age_s: float = 0.0


@attrs.frozen(kw_only=True)
class LimitAsk:
    """One question of a process. A store that gets it again gives the same grant, once.

    Args:
        worker: the process; no other one has this name.
        number: the number of the question. The next one has the next number.
        epoch: the `epoch` of the last grant; "" for none.
        seen: the `seen` of the last grant; 0 for none.
        rates: the limits that are named below.
        leases: what calls need, by scope.
        corrections: what was used other than leased.
        lanes: the calls that wait, by scope and lane; they replace those of the last question.
        places: the calls in flight, by scope.
        refusals: what the provider refused since the last question.
        leaves: whether the process ends: what it holds is free then.
    """

    worker: str
    number: int
    epoch: str = ""
    seen: int = 0
    rates: tuple[SharedRate, ...] = ()
    leases: tuple[LeaseAsk, ...] = ()
    corrections: tuple[Correction, ...] = ()
    lanes: tuple[LaneDemand, ...] = ()
    places: tuple[PlacesAsk, ...] = ()
    refusals: tuple[SharedRefusal, ...] = ()
    leaves: bool = False


@attrs.frozen
class Lease:
    """What calls of a scope may use of one limit.

    After t seconds they may have used at most `min(amount, at_once + rate t)`, which may be
    negative for some time: that is the place in line. What could be used and was not for
    `UNUSED_S` must be given back, or is forfeited. A call of more than the depth is admitted when
    as much as the depth could be used.

    Args:
        scope: the scope of the calls.
        limit: the name of the shared limit.
        amount: how much is leased.
        at_once: how much of it could be used when the grant arrives; negative before its turn.
        rate: how much more can be used a second.
    """

    scope: str
    limit: str
    amount: float
    at_once: float
    rate: float


@attrs.frozen(kw_only=True)
class LimitGrant:
    """The answer to a `LimitAsk`.

    Args:
        epoch: identifies the state of the store; another one if its state was lost.
        workers: the number of processes that use the limits, this one included.
        leases: what the calls may use.
        full: seconds until each limit of the ask is full, {limit: seconds}.
        parts: the part of the limits of a scope that is due to this process, above 0 and up to 1,
            {scope: part}.
        windows: how many seconds of the limits of a scope this process may lease at a time,
            {scope: seconds}; 0 if others come first.
        weights: the weight of a lane in this process, {(scope, lane): weight}: the calls of a
            lane may be in several processes, which share its weight.
        places: the most calls in flight here, {scope: number}.
        refusals: what other processes reported since the last grant, with the pause that is left.
        seen: the number of refusals that were ever reported.
    """

    epoch: str
    workers: int
    leases: tuple[Lease, ...] = ()
    full: dict[str, float] = attrs.field(factory=dict[str, float])
    parts: dict[str, float] = attrs.field(factory=dict[str, float])
    windows: dict[str, float] = attrs.field(factory=dict[str, float])
    weights: dict[tuple[str, str], float] = attrs.field(factory=dict[tuple[str, str], float])
    places: dict[str, int] = attrs.field(factory=dict[str, int])
    refusals: tuple[SharedRefusal, ...] = ()
    seen: int = 0


def trimmed(ask: LimitAsk) -> LimitAsk:
    """Return a question with about `LANES_ASKED` lanes at most: the smallest are taken as one.

    Args:
        ask: the question of a process.
    """
    if len(ask.lanes) <= LANES_ASKED:
        return ask
    order = sorted(ask.lanes, key=attrgetter("seconds"), reverse=True)
    rest: dict[str, LaneDemand] = {}  # {scope: those that are taken as one}
    for lane in order[LANES_ASKED - 1 :]:
        one = rest.get(lane.scope)
        rest[lane.scope] = attrs.evolve(
            lane,
            lane=OVERFLOW,
            weight=lane.weight + (one.weight if one else 0.0),
            seconds=lane.seconds + (one.seconds if one else 0.0),
            age_s=max(lane.age_s, one.age_s if one else lane.age_s),
            priority=one.priority if one else lane.priority,
        )
    return attrs.evolve(ask, lanes=(*order[: LANES_ASKED - 1], *rest.values()))


class LimitStore(Protocol):
    """The limits of one endpoint, or pool of endpoints, that processes share.

    Its errors are those of `StorageError`. After one it is unknown whether the question arrived:
    the process asks the same question again, with the same number.
    """

    @property
    def name(self) -> str:
        """What it is and where, for logs, without secrets (L8)."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the store for the length of a block."""
        ...

    async def ask(self, ask: LimitAsk) -> LimitGrant:
        """Lease, report and correct, in one exchange.

        Args:
            ask: what the process needs and reports.

        Raises:
            StorageError: there is no answer.
        """
        ...

    async def wait_for_news(self) -> bool:
        """Return when another process has reported a refusal or given places back, or after 1 s.

        Returns early without a reason at times, and may miss one: the next grant has it.

        Returns:
            Whether there is news; False after 1 s without any.
        """
        ...
