"""The lanes of all callers that wait for one call. Pure (R14)."""

from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from typing import Protocol, final

from .errors import TurnTooLate


class PatientCaller(Protocol):
    """A caller that waits no longer than its patience for the turn of a shared call."""

    @property
    def turn_by(self) -> float:
        """When the turn must have come, in seconds on Trio's clock; infinity without a limit."""
        ...

    def refuse(self, error: TurnTooLate) -> None:
        """Fail for this caller alone. It may leave the lanes.

        Args:
            error: says how long the call still has to wait.
        """
        ...


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

    __slots__ = ("_callers", "_patient", "listener")

    def __init__(self, *lanes: str) -> None:
        self._callers = Counter(lanes)
        self._patient: list[PatientCaller] = []
        self.listener: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<CallLanes {', '.join(map(repr, self))}>"

    def __contains__(self, lane: str) -> bool:
        return self._callers[lane] > 0

    def __iter__(self) -> Iterator[str]:
        """Iterate over the lanes, in the order in which their first callers came."""
        return iter([lane for lane, callers in self._callers.items() if callers])

    @property
    def turn_by(self) -> float:
        """When the first of the callers loses its patience; infinity without a limit."""
        return min([caller.turn_by for caller in self._patient], default=inf)

    def join(self, lane: str, caller: PatientCaller | None = None) -> None:
        """Add a caller.

        Args:
            lane: the lane of the caller.
            caller: the caller, if its patience may be limited.
        """
        self._callers[lane] += 1
        is_patient = caller is not None and caller.turn_by < inf
        if caller is not None and is_patient:
            self._patient.append(caller)
        if (self._callers[lane] == 1 or is_patient) and self.listener is not None:
            self.listener()

    def refuse_late(self, turn: float, error: Callable[[PatientCaller], TurnTooLate]) -> None:
        """Fail for the callers whose patience ends before the turn of the call comes.

        Args:
            turn: when it comes at the earliest, in seconds on Trio's clock.
            error: makes the error of a caller.
        """
        for caller in [one for one in self._patient if one.turn_by < turn]:
            caller.refuse(error(caller))

    def leave(self, lane: str, caller: PatientCaller | None = None) -> None:
        """Remove a caller that was added.

        Args:
            lane: the lane of the caller.
            caller: the caller, as it was added.
        """
        if caller is not None and caller in self._patient:
            self._patient.remove(caller)
        self._callers[lane] -= 1
        if not self._callers[lane]:
            del self._callers[lane]
            if self.listener is not None:
                self.listener()
