"""How long a call would wait, estimated without a simulation. Pure (R14).

A simulation takes the longer the more calls wait, and each call that is refused needs an estimate.
So this adds up what would be served before the call, in the order of fair queueing, and lets it
flow through each limit on its own: a bucket that has room for r now and refills R a second allows a
call of cost c after others of cost A when A + c <= r + R t. The call waits for the slowest limit.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import floor, inf
from typing import NamedTuple

from .limits import Cost

Before = tuple[float, Sequence[float]]
"""How many calls are served before another one, and what they take of each dimension."""


class Flow(NamedTuple):
    """What one limit lets through.

    Args:
        dimension: the index of what it counts in `Cost`.
        room: the amount that it allows now; negative if it is in debt.
        depth: the amount that it allows at once; a larger call needs no more room than that.
        rate: the amount that it refills a second.
    """

    dimension: int
    room: float
    depth: float
    rate: float


class Pause(NamedTuple):
    """A time before which a limit does not allow more than an amount.

    Args:
        dimension: the index of what it counts in `Cost`.
        room: the amount that it allows before.
        seconds: seconds until then.
        depth: the amount that it allows at once; a larger call needs no more room than that.
    """

    dimension: int
    room: float
    seconds: float
    depth: float = inf


class Places(NamedTuple):
    """A limit of calls in flight.

    Args:
        used: the number of calls in flight.
        most: the most calls in flight.
    """

    used: int
    most: float


class Bounds(NamedTuple):
    """All limits of a call.

    Args:
        flows: those of requests, tokens and USD.
        pauses: the times before which some of them allow no more.
        places: those of calls in flight.
    """

    flows: list[Flow]
    pauses: list[Pause]
    places: list[Places]


class Wait(NamedTuple):
    """How long a call would wait for its turn.

    Both assume that no further call arrives, that no call leaves, and that a call in flight takes
    as long as the mean call. Calls in flight that wait for another attempt are not counted.

    Args:
        least_s: seconds before which its turn does not come.
        likely_s: seconds after which its turn comes, by estimate.
    """

    least_s: float
    likely_s: float


NO_WAIT = Wait(0.0, 0.0)


def wait_for(bounds: Bounds, before: Before, cost: Cost, mean_s: float) -> Wait:
    """Return how long a call would wait.

    If all calls in flight take equally long, each place becomes free once in this time. Then n of
    them end after (n - 1) // places whole times at the earliest.

    Args:
        bounds: the limits that apply to it.
        before: the calls that are served before.
        cost: what it takes of each dimension.
        mean_s: seconds that a call in flight takes; 0 if they are not known.
    """
    count, ahead = before
    least_s = 0.0
    for index, room, depth, rate in bounds.flows:
        missing = ahead[index] + min(cost[index], depth) - room
        least_s = max(least_s, missing / rate)
    for index, room, seconds, depth in bounds.pauses:
        if ahead[index] + min(cost[index], depth) > room:
            least_s = max(least_s, seconds)
    likely_s = least_s
    for used, most in bounds.places:
        ends = used + count + 1 - most
        if ends > 0:
            each = max(1, most)  # other processes may have all places for now
            least_s = max(least_s, floor((ends - 1) / each) * mean_s)
            likely_s = max(likely_s, ends / each * mean_s)
    return Wait(least_s, likely_s)


def bounds_together(members: Sequence[Bounds]) -> Bounds:
    """Return the limits of several endpoints as those of one that has all of their room.

    Of each endpoint and dimension the slowest limit counts. A dimension that one of them does not
    limit is not limited, and they pause until the first of them does not.

    Args:
        members: the limits of each endpoint.
    """
    by_index: defaultdict[int, list[Flow]] = defaultdict(list)
    for member in members:
        slowest: dict[int, Flow] = {}
        for flow in member.flows:
            known = slowest.get(flow.dimension)
            if known is None or flow.rate < known.rate:
                slowest[flow.dimension] = flow
        for index, flow in slowest.items():
            by_index[index].append(flow)
    flows = [
        Flow(
            index,
            sum(flow.room for flow in found),
            min(flow.depth for flow in found),
            sum(flow.rate for flow in found),
        )
        for index, found in by_index.items()
        if len(found) == len(members)
    ]
    parked = [
        max((pause.seconds for pause in member.pauses if pause.room == -inf), default=0.0)
        for member in members
    ]
    pauses = [Pause(0, -inf, min(parked))]
    places: list[Places] = []
    if all(member.places for member in members):
        firsts = [member.places[0] for member in members]
        places.append(Places(sum(one.used for one in firsts), sum(one.most for one in firsts)))
    return Bounds(flows, pauses, places)
