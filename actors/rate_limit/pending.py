"""The calls that wait in a `RateLimiterActor`, with their reply slots and lanes."""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, final

import attrs
import trio

from ...runtime import ReplySlot
from ..call_lanes import CallLanes
from ..calls import Complete, Stream
from ..errors import RequestTooLarge
from .estimator import Estimate
from .limits import Impossible, PermitRequest, TooLate
from .permits import InFlightCall
from .pool import Limiting


@attrs.define(eq=False)
class LanePlaces:
    """The places of one call in the lanes of all callers that wait for it.

    Args:
        lanes: these lanes at present.
        wanted: what the call needs, by whichever lane it is admitted.
        entered: the lanes in which it has a place.
        is_admitted: whether it was admitted by one of them, so that it leaves the others.
    """

    lanes: CallLanes
    wanted: PermitRequest
    entered: set[str] = attrs.field(factory=set[str])
    is_admitted: bool = False


@attrs.frozen(eq=False)
class PendingCall:
    """A call that waits for admission, or its place in one of several lanes.

    Args:
        message: asks for the response.
        slot: its reply slot, which all its places share.
        estimate: its estimated tokens.
        since: when its caller made it, or else when it came, in seconds on Trio's clock.
        lane: the lane that it waits in.
        places: its places, if several callers wait for it.
        turn_by: when its turn must have come, in seconds on Trio's clock; see `patience_ends`.
    """

    message: Complete | Stream
    slot: ReplySlot[Any]
    estimate: Estimate
    since: float
    lane: str
    places: LanePlaces | None = None
    turn_by: float = inf

    @property
    def lanes(self) -> CallLanes | None:
        """The lanes of all callers that share it; None if it is not shared."""
        return self.message.lanes if isinstance(self.message, Complete) else None

    @property
    def patience_ends(self) -> float:
        """When the patience of its first caller ends; infinity without a limit."""
        lanes = self.lanes
        return self.turn_by if lanes is None else lanes.turn_by

    @property
    def done(self) -> bool:
        """Whether it was given up, or needs this place no more."""
        if self.slot.done:
            return True
        places = self.places
        return places is not None and (places.is_admitted or self.lane not in places.lanes)


@attrs.frozen(eq=False)
class WaitingRenewal:
    """A call in flight that waits for one more attempt.

    Args:
        slot: settled when the attempt may be sent.
        call: what is known of the call so far.
    """

    slot: ReplySlot[None]
    call: InFlightCall

    @property
    def done(self) -> bool:
        """Whether it was given up."""
        return self.slot.done


@final
class CallersLanes:
    """Puts calls into the lanes of a limiter: each into its own, or into those of all its callers.

    A call that several callers wait for is admitted by the first lane that has its turn. Its places
    follow the callers that join and leave.

    Args:
        limiter: the limiter, whose lanes they are.
        changed: called with a call that waits, and what it needs, when its callers have changed.
    """

    def __init__(
        self,
        limiter: Limiting[PendingCall | WaitingRenewal],
        changed: Callable[[PendingCall, PermitRequest], None],
    ) -> None:
        self._limiter = limiter
        self._changed = changed

    def push(self, call: PendingCall, wanted: PermitRequest, now: float) -> bool:
        """Let a call wait; return whether the next admission may differ now.

        Args:
            call: the call, without places.
            wanted: what it needs, in the lane of its first caller.
            now: the current time, in seconds on Trio's clock.

        Raises:
            Impossible: the call exceeds a limit, so that it could never be admitted.
            TooLate: it could not be admitted before its deadline by any of its lanes.
        """
        lanes = call.lanes
        if lanes is None:
            return self._limiter.push(call, wanted, now)
        places = LanePlaces(lanes, wanted)
        call = attrs.evolve(call, places=places)
        is_new, too_late = False, None
        for lane in lanes:
            try:
                is_new |= self._enter(call, places, lane, wanted.deadline, now)
            except TooLate as error:
                too_late = error
        if too_late is not None and not places.entered:
            raise too_late
        lanes.listener = partial(self._lanes_changed, call, places)
        call.slot.on_settled(partial(_stop_listening, lanes))
        return is_new

    def _enter(
        self, call: PendingCall, places: LanePlaces, lane: str, deadline: float, now: float
    ) -> bool:
        wanted = places.wanted
        came = wanted.came if lane == wanted.lane else None  # of the first caller alone
        wanted = attrs.evolve(wanted, lane=lane, deadline=deadline, came=came)
        is_new = self._limiter.push(attrs.evolve(call, lane=lane), wanted, now)
        places.entered.add(lane)
        return is_new

    def _lanes_changed(self, call: PendingCall, places: LanePlaces) -> None:
        """Apply that a caller has joined a call that waits, or has left it."""
        if call.slot.done or places.is_admitted:
            return
        now = trio.current_time()
        places.entered.intersection_update(places.lanes)
        for lane in places.lanes:
            if lane not in places.entered:
                try:  # the other lanes may be faster: only the call's own deadline ends its wait
                    self._enter(call, places, lane, inf, now)
                except Impossible as error:  # by limits that have changed
                    call.slot.fail(RequestTooLarge(str(error)))
        self._limiter.left()  # of the lanes that are left
        self._changed(call, places.wanted)


def _stop_listening(lanes: CallLanes, _: ReplySlot[Any]) -> None:
    """Break the cycle of a call and its lanes: without this it stays until garbage is collected."""
    lanes.listener = None
