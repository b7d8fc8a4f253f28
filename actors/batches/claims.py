"""Which answers the journal need not have any longer. Pure (R14)."""

from collections import defaultdict
from collections.abc import Iterable
from typing import final

from ..calls import Origin

__all__ = ["Claims"]


@final
class Claims:
    """Answers that were given and are not known to be kept.

    A line may answer several calls, when they were made as one; and several lines one call.

    Args:
        are_held: until they are kept; else an answer that was given is done with.
    """

    def __init__(self, *, are_held: bool) -> None:
        self._are_held = are_held
        self._calls: dict[str, set[str]] = {}  # {custom id of a line: calls that have not kept it}
        self._lines: defaultdict[str, set[str]] = defaultdict(set)  # the other way round

    def __len__(self) -> int:
        return len(self._calls)

    def give(self, custom_id: str, origin: Origin) -> bool:
        """An answer was given; whether it is done with.

        Args:
            custom_id: of its line.
            origin: whom it is for.
        """
        if not self._are_held:
            return True
        calls = {one.call for one in origin.shared_by or (origin,)}
        self._calls[custom_id] = calls
        for call in calls:
            self._lines[call].add(custom_id)
        return False

    def keep(self, calls: Iterable[str]) -> list[str]:
        """Calls have kept what they were answered; the lines that are done with by that."""
        done: list[str] = []
        for call in calls:
            for custom_id in self._lines.pop(call, ()):
                waiting = self._calls[custom_id]
                waiting.discard(call)
                if not waiting:
                    del self._calls[custom_id]
                    done.append(custom_id)
        return done
