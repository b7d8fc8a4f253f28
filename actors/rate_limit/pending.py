"""The calls that wait in a `RateLimiterActor`, with their reply slots."""

from math import inf
from typing import Any

import attrs

from ...runtime import ReplySlot
from ..call_lanes import CallLanes
from ..calls import Complete, Stream
from .estimator import Estimate
from .limits import PermitRequest
from .permits import InFlightCall


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
