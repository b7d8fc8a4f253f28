"""What the page draws over time: values and counts in slots of time, within bounds. Pure (R14)."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import final

import attrs

from ...actors import LimitReading, Reading

SLOTS = 120
"""The slots of each series."""

READING_SLOT_S = 5.0
"""The length of a slot of what readings show, in seconds: ten minutes in all."""

TRAFFIC_SLOT_S = 30.0
"""The length of a slot of what is counted by events, in seconds: one hour in all."""

_MAX_SERIES = 1000


@final
class SlotSeries:
    """The highest value in each of the latest slots of time.

    Args:
        slot_s: the length of a slot in seconds.
    """

    def __init__(self, slot_s: float = READING_SLOT_S) -> None:
        self._slot_s = slot_s
        self._values: dict[int, float] = {}  # {number of the slot: value}, in the order of time

    def __repr__(self) -> str:
        return f"<SlotSeries of {len(self._values)} values>"

    def put(self, value: float, at: float) -> None:
        """Add a value. Times must not go back.

        Args:
            value: the value at that time.
            at: when it was so, in seconds.
        """
        slot = int(at // self._slot_s)
        self._values[slot] = max(value, self._values.get(slot, value))
        if len(self._values) > SLOTS:
            del self._values[next(iter(self._values))]

    def values(self, now: float) -> tuple[float | None, ...]:
        """Return the values of the latest slots, the oldest first; None for one without a value.

        Args:
            now: the current time in seconds, which is in the last slot.
        """
        last = int(now // self._slot_s)
        return tuple(self._values.get(slot) for slot in range(last - SLOTS + 1, last + 1))

    def is_over(self, now: float) -> bool:
        """Return whether all of its values are older than the latest slots.

        Args:
            now: the current time in seconds.
        """
        return not self._values or max(self._values) <= int(now // self._slot_s) - SLOTS


@attrs.frozen(kw_only=True)
class TroupeHistory:
    """What the latest readings of one troupe have shown, in slots of five seconds, oldest first.

    A slot in which the page was not open has null.

    Args:
        in_flight: the most calls in flight.
        waiting: the most calls that waited for the limiter.
        use: the highest use of each limit of the reading, in the same order, from 0 to 1.
    """

    in_flight: Sequence[float | None] = ()
    waiting: Sequence[float | None] = ()
    use: Sequence[Sequence[float | None]] = ()


@final
class ReadingHistory:
    """The history of the readings of several troupes."""

    def __init__(self) -> None:
        self._series: dict[Hashable, SlotSeries] = {}

    def __repr__(self) -> str:
        return f"<ReadingHistory of {len(self._series)} series>"

    def add(self, readings: Mapping[str, Reading], now: float) -> None:
        """Add a reading of each troupe.

        Args:
            readings: {name of the troupe: its reading}.
            now: the current time in seconds.
        """
        for troupe, reading in readings.items():
            self._put((troupe, "in flight"), reading.in_flight, now)
            self._put((troupe, "waiting"), reading.waiting, now)
            for limit in reading.limits:
                if limit.use is not None:
                    self._put(_key(troupe, limit), round(limit.use, 3), now)
        for key in [key for key, series in self._series.items() if series.is_over(now)]:
            del self._series[key]

    def of(self, troupe: str, limits: Iterable[LimitReading], now: float) -> TroupeHistory:
        """Return the history of one troupe.

        Args:
            troupe: the name of the troupe.
            limits: the limits whose use is wanted.
            now: the current time in seconds.
        """
        return TroupeHistory(
            in_flight=self._values((troupe, "in flight"), now),
            waiting=self._values((troupe, "waiting"), now),
            use=[self._values(_key(troupe, limit), now) for limit in limits],
        )

    def _put(self, key: Hashable, value: float, now: float) -> None:
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= _MAX_SERIES:
                return
            series = self._series[key] = SlotSeries()
        series.put(value, now)

    def _values(self, key: Hashable, now: float) -> tuple[float | None, ...]:
        series = self._series.get(key)
        return () if series is None else series.values(now)


def _key(troupe: str, limit: LimitReading) -> Hashable:
    """Return what identifies a limit, whose amount may change."""
    return troupe, limit.subject, limit.dimension, limit.per_s, limit.source


@attrs.frozen(kw_only=True)
class TrafficReading:
    """What happened in the last hour, in slots of half a minute, oldest first.

    Args:
        slot_s: the length of a slot in seconds.
        last_s: the seconds of the last slot that have passed.
        answered: calls with a response.
        failed: calls that failed.
        cancelled: calls whose client went away.
        retried: attempts that failed and were followed by another one.
        tokens: the tokens of the responses, of prompts and generated.
        usd: the known cost of the responses in USD.
    """

    slot_s: float
    last_s: float
    answered: Sequence[int]
    failed: Sequence[int]
    cancelled: Sequence[int]
    retried: Sequence[int]
    tokens: Sequence[int]
    usd: Sequence[float]


@attrs.define
class _Slot:
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)


_EMPTY = _Slot()


@final
class Traffic:
    """Counts the ends of calls in slots of half a minute.

    Attributes:
        now: what is counted in the slot of the latest `at`.
    """

    def __init__(self) -> None:
        self._number = 0
        self._slots: dict[int, _Slot] = {}  # {number: slot}, in the order of time
        self.now = _Slot()

    def __repr__(self) -> str:
        return f"<Traffic in {len(self._slots)} slots>"

    def at(self, at: float) -> _Slot:
        """Return the slot of a time, to count in it.

        Args:
            at: the time in seconds.
        """
        number = int(at // TRAFFIC_SLOT_S)
        if number != self._number or not self._slots:
            self._number = number
            self.now = self._slots.setdefault(number, _Slot())
            if len(self._slots) > SLOTS:
                del self._slots[next(iter(self._slots))]
        return self.now

    def reading(self, now: float) -> TrafficReading:
        """Return the counts of the last hour.

        Args:
            now: the current time in seconds.
        """
        last = int(now // TRAFFIC_SLOT_S)
        slots = [self._slots.get(number, _EMPTY) for number in range(last - SLOTS + 1, last + 1)]
        return TrafficReading(
            slot_s=TRAFFIC_SLOT_S,
            last_s=now % TRAFFIC_SLOT_S,
            answered=[slot.answered for slot in slots],
            failed=[slot.failed for slot in slots],
            cancelled=[slot.cancelled for slot in slots],
            retried=[slot.retried for slot in slots],
            tokens=[slot.tokens for slot in slots],
            usd=[float(slot.usd) for slot in slots],
        )
