"""The calls that wait with a limited patience: they fail when their turn does not come in time."""

import heapq
import itertools
from functools import partial
from math import inf, nextafter
from typing import Any, final

import attrs

from ...runtime import ReplySlot
from ..errors import TurnTooLate
from .lane_queue import Waiting
from .lease_exchange import SharedLimiting
from .limits import PermitRequest
from .pending import PendingCall, WaitingRenewal
from .pool import Limiting
from .waits import NO_WAIT

_SPARE = 64  # entries of calls that have left; beyond as many as wait, they are removed


@final
class PatientCalls:
    """Calls that wait with a limited patience, and when the first of them loses it.

    A call that several callers share fails for each of them when the patience of that one ends.

    Args:
        limiter: admits the calls, and estimates how long one would wait.
        shared: where other processes share the limits; None shares them with none.
    """

    def __init__(
        self,
        limiter: Limiting[PendingCall | WaitingRenewal],
        shared: SharedLimiting | None = None,
    ) -> None:
        self._limiter = limiter
        self._shared = shared
        self._calls: dict[ReplySlot[Any], tuple[float, PendingCall, PermitRequest]] = {}
        self._heap: list[
            tuple[float, int, ReplySlot[Any]]
        ] = []  # (when patience ends, number, ...)
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def next_at(self) -> float:
        """When the patience of a call ends next; infinity without calls."""
        heap = self._heap
        while heap and not self._is_valid(heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else inf

    def check(self, call: PendingCall, wanted: PermitRequest, now: float) -> None:
        """Refuse a call that would wait, or some of its callers, if its turn comes too late.

        Args:
            call: the call, which is not in its lane yet. Its slot is settled if it is refused.
            wanted: what it needs.
            now: the current time.

        Raises:
            Impossible: the call exceeds a limit, so that it could never be admitted.
        """
        lanes = call.lanes
        names = (wanted.lane,) if lanes is None else tuple(lanes)
        waits = [self._limiter.wait(attrs.evolve(wanted, lane=name), now) for name in names]
        wait = min(waits, default=NO_WAIT)
        self._refuse(call, wanted, now + wait.least_s, wait.likely_s, now)

    def watch(self, call: PendingCall, wanted: PermitRequest) -> None:
        """Fail a call that waits, or some of its callers, when the patience ends.

        Args:
            call: the call; it may be watched already, with other callers.
            wanted: what it needs.
        """
        slot, until = call.slot, call.patience_ends
        is_new = slot not in self._calls
        self._calls[slot] = until, call, wanted
        heapq.heappush(self._heap, (until, next(self._numbers), slot))
        if is_new:
            slot.on_settled(self.remove)

    def remove(self, slot: ReplySlot[Any]) -> None:
        """Remove a call that has its turn or was given up; it may have been removed before.

        Args:
            slot: the reply slot of the call.
        """
        if self._calls.pop(slot, None) is None:
            return
        if len(self._heap) > 2 * len(self._calls) + _SPARE:
            self._heap = list(filter(self._is_valid, self._heap))
            heapq.heapify(self._heap)

    def give_up_late(self, now: float) -> None:
        """Fail the calls whose patience has ended.

        Args:
            now: the current time.
        """
        while self.next_at <= now:
            _, call, wanted = self._calls[self._heap[0][2]]
            wait_s = self._limiter.wait(wanted, now, partial(_has_slot, call.slot)).likely_s
            self._refuse(call, wanted, nextafter(now, inf), wait_s, now)
            self._limiter.left()
            if call.slot in self._calls:  # for other callers
                self.watch(call, wanted)

    def _is_valid(self, entry: tuple[float, int, ReplySlot[Any]]) -> bool:
        known = self._calls.get(entry[2])
        return known is not None and known[0] == entry[0]

    def _refuse(
        self, call: PendingCall, wanted: PermitRequest, turn: float, wait_s: float, now: float
    ) -> None:
        """Fail for those whose patience ends before the turn of the call."""

        def error(turn_by: float) -> TurnTooLate:
            found = TurnTooLate(
                f"nothing was sent: the call would wait {wait_s:.1f} s more for "
                f"{self._obstacle(wanted, now)}, and its patience ends in "
                f"{max(0.0, turn_by - now):.1f} s",
                wait_s=wait_s,
            )
            found.queued_s = now - call.since
            return found

        if call.lanes is not None:
            call.lanes.refuse_late(turn, lambda caller: error(caller.turn_by))
        elif call.turn_by < turn:
            call.slot.fail(error(call.turn_by))

    def _obstacle(self, wanted: PermitRequest, now: float) -> str:
        """Return what delays the next call: a limit, or a server that does not answer."""
        if self._shared is not None:
            leased, name = self._shared.leased, self._shared.store.name
            if leased.is_away and not leased.is_divided:
                return f"{name}, which does not answer"
            if not leased.processes:
                return f"the first answer of {name}"
        return self._limiter.obstacle(wanted, now)


def _has_slot(slot: ReplySlot[Any], waiting: Waiting) -> bool:
    """Return whether something that waits is a call, or a place of it in one of its lanes."""
    return isinstance(waiting, PendingCall) and waiting.slot is slot
