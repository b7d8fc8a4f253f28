"""The lanes of all callers that wait for one call. Pure (R14)."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import final


@final
class CallLanes:
    """The lanes in which a shared call waits: those of the callers that wait for it now.

    The batcher puts it on the message, and changes it when a caller joins or leaves. The limiter
    admits the call when the first of these lanes has its turn. It belongs to no incarnation of an
    actor.

    Args:
        lanes: the lane of each caller.

    Attributes:
        listener: called when a lane was added or removed; the limiter sets it while the call waits.
    """

    __slots__ = ("_callers", "listener")

    def __init__(self, *lanes: str) -> None:
        self._callers = Counter(lanes)
        self.listener: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<CallLanes {', '.join(map(repr, self))}>"

    def __contains__(self, lane: str) -> bool:
        return self._callers[lane] > 0

    def __iter__(self) -> Iterator[str]:
        """Iterate over the lanes, in the order in which their first callers came."""
        return iter([lane for lane, callers in self._callers.items() if callers])

    def join(self, lane: str) -> None:
        """Add a caller.

        Args:
            lane: the lane of the caller.
        """
        self._callers[lane] += 1
        if self._callers[lane] == 1 and self.listener is not None:
            self.listener()

    def leave(self, lane: str) -> None:
        """Remove a caller that was added.

        Args:
            lane: the lane of the caller.
        """
        self._callers[lane] -= 1
        if not self._callers[lane]:
            del self._callers[lane]
            if self.listener is not None:
                self.listener()
