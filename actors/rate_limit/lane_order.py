"""The order of lanes at a limit that several queues share. Pure (R14).

Calls of different models wait in queues of their own, each of which is fair, and have limits in
common. There the lane is served next that has had least of what is shared. As within a queue, this
is start-time fair queueing (see `lanes`): a lane that could not use its part, because other limits
held it back, has saved nothing up.
"""

from collections.abc import Sequence
from math import inf
from typing import TypeVar, final

from .lane_queue import Waiting
from .lanes import FirstCall

K = TypeVar("K")
W = TypeVar("W", bound=Waiting)

_MAX_TAGS = 1024  # lanes; beyond it, those that are not ahead of any other are forgotten


@final
class LaneOrder:
    """How much of what is shared each lane has had."""

    def __init__(self) -> None:
        self._tags: dict[str, float] = {}  # {lane: virtual time at which its next call starts}
        self._virtual: dict[int, float] = {}  # {priority: virtual time}
        self._max_tags = _MAX_TAGS

    def ordered(self, heads: Sequence[tuple[K, FirstCall[W]]]) -> list[tuple[K, FirstCall[W]]]:
        """Return the first calls of several queues in the order in which they may be admitted.

        Args:
            heads: each with its queue; those that came at -infinity precede all others.
        """
        if len(heads) <= 1:
            return list(heads)
        by_priority: dict[int, list[tuple[float, float, int]]] = {}
        for at, (_, head) in enumerate(heads):
            start = -inf if head.came == -inf else self.start(head.lane, head.priority)
            entry = (start, head.came, at)
            by_priority.setdefault(head.priority, []).append(entry)
        lines = [sorted(line) for line in by_priority.values()]
        found: list[tuple[K, FirstCall[W]]] = []
        while lines:
            line = min(lines, key=_came_first) if len(lines) > 1 else lines[0]
            found.append(heads[line.pop(0)[2]])
            if not line:
                lines.remove(line)
        return found

    def take(self, head: FirstCall[W], size: float) -> None:
        """Record that the first call of a queue was admitted.

        Args:
            head: the call that was the first of its queue.
            size: how much of what is shared it takes, in a unit that is the same for all calls.
        """
        start = self._virtual[head.priority] = self.start(head.lane, head.priority)
        self._tags[head.lane] = start + size / head.weight
        if len(self._tags) > self._max_tags:
            least = min(self._virtual.values())
            self._tags = {lane: tag for lane, tag in self._tags.items() if tag > least}
            self._max_tags = max(_MAX_TAGS, 2 * len(self._tags))

    def copy(self) -> "LaneOrder":
        """Return an independent copy."""
        other = LaneOrder()
        other._tags, other._virtual = dict(self._tags), dict(self._virtual)
        return other

    def start(self, lane: str, priority: int) -> float:
        """Return the virtual time at which the next call of a lane starts.

        Args:
            lane: the name of the lane.
            priority: the priority of the lane.
        """
        return max(self._tags.get(lane, 0.0), self._virtual.get(priority, 0.0))


def _came_first(line: list[tuple[float, float, int]]) -> float:
    return line[0][1]
