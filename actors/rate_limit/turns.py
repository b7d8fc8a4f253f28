"""Which calls are in flight, which ones wait, and when each of them has its turn. Pure (R14)."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import attrs

from ...runtime import Message, ReplySlot
from ..calls import CallContext
from .pending import PendingCall, WaitingRenewal
from .permits import InFlightCall
from .pool import Limiting
from .scope import Reservation
from .simulation import Future, Simulated

SentCalls = Mapping[InFlightCall, tuple[PendingCall, float]]
"""The calls in flight: each as it waited, and when it was admitted."""

_MAX_STEPS = 1_000  # simulated admissions of one reading: about 10 ms
_MAX_AHEAD_S = 3_600.0
_ANY_S = 1.0  # what a call in flight takes where only the order of the turns matters


@attrs.frozen(kw_only=True)
class QueuedTurn:
    """A call that is in flight, or that waits for its turn.

    Args:
        context: the ids of the call.
        model: the model that it requests.
        lane: the lane that it waits in, or was admitted from.
        seconds: how long it is in flight, or has waited, in seconds.
        turn_s: seconds until its turn, by estimate; None if it is not known, and in flight.
    """

    context: CallContext
    model: str
    lane: str
    seconds: float
    turn_s: float | None = None


@attrs.frozen(kw_only=True)
class Turns:
    """The calls of a limiter at one moment.

    Args:
        in_flight: the number of calls in flight, by lane.
        waiting: the number of calls that wait, by lane.
        ended: the number of calls that were in flight and have ended, since the limiter started.
        next_s: seconds until the next turn of a lane, by estimate; a lane without a known turn is
            missing.
        oldest: the calls that are in flight for longest, the oldest first.
        upcoming: the calls whose turns are next, in the order of their turns.
    """

    in_flight: Mapping[str, int]
    waiting: Mapping[str, int]
    ended: int
    next_s: Mapping[str, float]
    oldest: tuple[QueuedTurn, ...]
    upcoming: tuple[QueuedTurn, ...]


@attrs.frozen
class GetTurns(Message[Turns]):
    """Ask a `RateLimiterActor` which calls wait, and when each has its turn.

    Args:
        most: how many calls to name, both of those in flight and of those that wait.
    """

    most: int


def turns_of(
    limiter: Limiting[PendingCall | WaitingRenewal],
    sent: SentCalls,
    ended: int,
    *,
    most: int,
    now: float,
) -> Turns:
    """Return the calls of a limiter, and when those that wait have their turns.

    Args:
        limiter: admits the calls; it is copied.
        sent: the calls in flight, in the order in which they were admitted.
        ended: the number of calls that were in flight and have ended.
        most: how many calls to name, both of those in flight and of those that wait.
        now: the current time.
    """
    waiting: Counter[str] = Counter()
    for scope in limiter.snapshot(now).scopes:
        waiting.update(scope.waiting)
    copied = limiter.copy(now) if waiting else None
    calls, next_s = ([], {}) if copied is None else _upcoming(copied, sent, len(waiting), most, now)
    return Turns(
        in_flight=Counter(call.lane for call, _ in sent.values()),
        waiting=waiting,
        ended=ended,
        next_s=next_s,
        oldest=tuple(_shown(call, now - at) for call, at in islice(sent.values(), most)),
        upcoming=tuple(_shown(call, now - call.since, turn_s) for call, turn_s in calls),
    )


def _upcoming(
    limiter: Simulated, sent: SentCalls, lanes: int, most: int, now: float
) -> tuple[list[tuple[PendingCall, float | None]], dict[str, float]]:
    """Return the next calls, each with the seconds until its turn, and the same of each lane.

    Before a call has ended, it is not known how long one takes, and so are the turns that wait for
    an end; their order is.
    """
    mean_s = limiter.mean_s  # the simulation changes it
    lasts_s = mean_s or _ANY_S
    future, steps = Future(limiter, now, lasts_s, _ends(limiter, sent, lasts_s, now)), 0
    calls: list[tuple[PendingCall, float | None]] = []
    next_s: dict[str, float | None] = {}
    seen: set[ReplySlot[Any]] = set()
    while future.now - now <= _MAX_AHEAD_S:
        for grant in future.grants():
            steps += 1
            call: object = grant.waiting
            if isinstance(call, PendingCall):
                is_known = mean_s > 0 or not future.needs_end
                turn_s = future.now - now if is_known else None
                for lane in (call.lane,) if call.places is None else call.places.lanes:
                    next_s.setdefault(lane, turn_s)
                if call.slot in seen:  # it was admitted from another of its lanes
                    future.take_back(grant)
                elif len(calls) < most:
                    calls.append((call, turn_s))
                seen.add(call.slot)
            if steps >= _MAX_STEPS or (len(calls) >= most and len(next_s) >= lanes):
                return calls, _known(next_s)
        if not future.move_on():
            break
    return calls, _known(next_s)


def _ends(
    limiter: Simulated, sent: SentCalls, mean_s: float, now: float
) -> Iterator[tuple[float, Reservation]]:
    """Yield when each call in flight ends, by estimate.

    Durations are taken to be uniform between 0 and twice their mean m. Then a call that has lasted
    for e takes m - e / 2 more, as the mean of those that last longer than e is m + e / 2.
    """
    begun: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
    for call, (_, at) in sent.items():
        begun[call.reservation.scope.name, call.reservation.member].append(at)
    for place in limiter.places(now):
        times = begun[place.scope.name, place.member]
        lasted_s = now - times.popleft() if times else 0.0
        yield now + max(0.0, mean_s - lasted_s / 2), place


def _known(next_s: Mapping[str, float | None]) -> dict[str, float]:
    return {lane: turn_s for lane, turn_s in next_s.items() if turn_s is not None}


def _shown(call: PendingCall, seconds: float, turn_s: float | None = None) -> QueuedTurn:
    message = call.message
    return QueuedTurn(
        context=message.context,
        model=message.request.model,
        lane=call.lane,
        seconds=seconds,
        turn_s=turn_s,
    )
