"""The limit of a provider, to which the instants of all processes are played again, merged."""

from collections import deque
from collections.abc import Iterable, Sequence

import attrs

__all__ = ["Replayed", "lateness_s", "replay", "windowed"]

BURST_S = 1.0
_ROUNDING = 1e-6  # of a call: of times as floating-point numbers
_NEAR_S = 1.0


@attrs.frozen
class Replayed:
    """The outcome of calls at a provider's limit.

    Args:
        accepted: number of calls that were within the limit.
        refused: number of calls that would have got a 429.
        nearly: of the refused, those that would have been accepted 10 ms later: the time by which
            one machine notices an instant late.
    """

    accepted: int
    refused: int
    nearly: int


def replay(instants: Iterable[float], rate: float) -> Replayed:
    """Play calls to a token bucket that is independent of Callsheet's.

    It begins full. A refused call takes nothing.

    Args:
        instants: when calls were sent, in seconds, in any order.
        rate: calls a second; the bucket holds those of one second, and at least one.
    """
    depth = max(1.0, rate * BURST_S)
    level, last = depth, 0.0
    accepted = refused = nearly = 0
    for number, at in enumerate(sorted(instants)):
        if number:
            level = min(depth, level + (at - last) * rate)
        last = at
        if level >= 1.0 - _ROUNDING:
            level -= 1.0
            accepted += 1
        else:
            refused += 1
            nearly += level + 0.01 * rate >= 1.0
    return Replayed(accepted, refused, nearly)


def windowed(instants: Iterable[float], start: float, end: float) -> list[float]:
    """Return the instants from `start` to before `end`, sorted."""
    return sorted(at for at in instants if start <= at < end)


def lateness_s(instants: Sequence[float], rate: float) -> list[float]:
    """Return how late each call was, beside the best schedule of the limit near it.

    Of calls at a limit that is used up, number n can go at `a + n / rate`, where `a` is what the
    earliest calls within a second around it had. A schedule that loses time for good shows in the
    use of the limit; this shows the delay of calls.

    Args:
        instants: when calls were sent, sorted.
        rate: calls a second.
    """
    starts = [at - number / rate for number, at in enumerate(instants)]
    found: list[float] = []
    first = last = 0
    least: deque[int] = deque()  # of the calls around this one, with starts that rise
    for number, at in enumerate(instants):
        while last < len(instants) and instants[last] <= at + _NEAR_S:
            while least and starts[least[-1]] >= starts[last]:
                least.pop()
            least.append(last)
            last += 1
        while instants[first] < at - _NEAR_S:
            if least[0] == first:
                least.popleft()
            first += 1
        found.append(starts[number] - starts[least[0]])
    return found
