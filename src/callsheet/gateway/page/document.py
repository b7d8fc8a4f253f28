"""The one JSON document that the page shows: stable members, bounded lists. Pure (R14)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar, final

import attrs
import msgspec

from ..._version import __version__
from ...actors import (
    ActorReading,
    CallReading,
    CostStatistics,
    ErrorReading,
    Reading,
)
from .history import ReadingHistory, TrafficReading, TroupeHistory
from .recorder import CallRecorder
from .spend import PageSpend, spend_of
from .timelines import CallSummary

PAGE_FORMAT = 1
"""The version of the form of the document. A later one may add members under the same number."""

GatewayState = Literal["serving", "draining"]
"""Whether the gateway takes calls, or ends those that it has."""

# Entries of each list, over all troupes together; further ones are counted as left out.
_MAX_TROUPES = 50
_MAX_ACTORS = 500
_MAX_CALLS = 400
_MAX_LANES = 400
MAX_TENANTS = 200
_MAX_LIMITS = 200
_MAX_ERRORS = 50
_MAX_RECENT, _MAX_FAILED, _MAX_SLOWEST = 50, 50, 20

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class TenantReading:
    """The calls of one tenant, from its own limits on.

    Args:
        name: the name of its keys.
        lane: the lane in which its calls wait for the limits of an endpoint.
        in_flight: calls that have had their turn at its own limits, and have not ended.
        waiting: calls that wait for its own limits.
        next_s: seconds until the first of them has its turn; null if it is not known.
        requests: the used share of its requests a minute, from 0 to 1; null without a limit.
        tokens: the used share of its tokens a minute; null without a limit.
    """

    name: str
    lane: str
    in_flight: int
    waiting: int
    next_s: float | None = None
    requests: float | None = None
    tokens: float | None = None


@attrs.frozen(kw_only=True)
class PageTroupe:
    """The troupe of one endpoint.

    Args:
        name: the name of the endpoint in the file of settings.
        reading: what its stages report, without actors and errors, which the document has.
        history: what its latest readings have shown.
    """

    name: str
    reading: Reading
    history: TroupeHistory


@attrs.frozen(kw_only=True)
class PageDocument:
    """Everything that the page shows, at one moment.

    Args:
        format: the version of this form.
        callsheet: the version of the program.
        state: whether the gateway takes calls.
        unix_s: the time in seconds since 1970 (UTC); all other times count from it.
        uptime_s: seconds since the gateway started.
        every_s: seconds until the next document.
        troupes: the troupe of each endpoint.
        tenants: the tenants with calls, those with the most calls that wait first.
        actors: the tree of actors of the whole program, each before those below it.
        errors: the errors of calls and the crashes of actors, the latest first.
        traffic: the calls of the last hour.
        recent: calls that have ended, the latest first.
        failed: calls that have failed, the latest first.
        slowest: the slowest calls of the last hour.
        spend: what calls have cost.
        left_out: how many entries each list lacks that is too long to be shown whole.
    """

    format: int = PAGE_FORMAT
    callsheet: str = __version__
    state: GatewayState
    unix_s: float
    uptime_s: float
    every_s: float
    troupes: Sequence[PageTroupe]
    tenants: Sequence[TenantReading]
    actors: Sequence[ActorReading]
    errors: Sequence[ErrorReading]
    traffic: TrafficReading
    recent: Sequence[CallSummary]
    failed: Sequence[CallSummary]
    slowest: Sequence[CallSummary]
    spend: PageSpend
    left_out: Mapping[str, int]


@attrs.frozen(kw_only=True)
class PageClock:
    """The times of one document.

    Args:
        now: the time in seconds on Trio's clock.
        unix_s: the same time in seconds since 1970 (UTC).
        started_at: when the gateway started, in seconds on Trio's clock.
        every_s: seconds until the next document.
    """

    now: float
    unix_s: float
    started_at: float
    every_s: float


def to_json(value: object) -> bytes:
    """Return a document, or a part of it, as JSON.

    Args:
        value: an instance of one of the classes of this package.
    """
    return msgspec.json.encode(value)


@final
class DocumentMaker:
    """Makes the documents of one gateway, and keeps the history that they show.

    Args:
        recorder: what is recorded of the calls.
    """

    def __init__(self, recorder: CallRecorder) -> None:
        self._recorder = recorder
        self._history = ReadingHistory()

    def __repr__(self) -> str:
        return f"<DocumentMaker with {self._history!r}>"

    def make(
        self,
        readings: Mapping[str, Reading],
        costs: CostStatistics | None,
        clock: PageClock,
        *,
        tenants: Sequence[TenantReading] = (),
        state: GatewayState = "serving",
    ) -> PageDocument:
        """Return the document of one moment.

        Args:
            readings: {name of the endpoint: the reading of its troupe}, of this moment.
            costs: the sums of the ledger; None without one.
            clock: the times of the document.
            tenants: the tenants with calls, in the order to show.
            state: whether the gateway takes calls.
        """
        now, recorder = clock.now, self._recorder
        self._history.add(readings, now)
        left_out: dict[str, int] = {}
        actors, crashes = _of_the_program(readings.values())
        cut = _Cut(left_out, troupes=max(1, min(len(readings), _MAX_TROUPES)))
        errors = sorted((*recorder.errors(now), *crashes), key=lambda error: error.seconds)
        return PageDocument(
            state=state,
            unix_s=clock.unix_s,
            uptime_s=now - clock.started_at,
            every_s=clock.every_s,
            troupes=[
                self._troupe(name, reading, cut, now)
                for name, reading in cut.first("troupes", list(readings.items()), _MAX_TROUPES)
            ],
            tenants=cut.first("tenants", tenants, MAX_TENANTS),
            actors=cut.first("actors", actors, _MAX_ACTORS),
            errors=cut.first("errors", errors, _MAX_ERRORS),
            traffic=recorder.traffic(now),
            recent=recorder.calls("recent", _MAX_RECENT, now),
            failed=recorder.calls("failed", _MAX_FAILED, now),
            slowest=recorder.calls("slowest", _MAX_SLOWEST, now),
            spend=recorder.spend() if costs is None else spend_of(costs),
            left_out=left_out,
        )

    def _troupe(self, name: str, reading: Reading, cut: "_Cut", now: float) -> PageTroupe:
        limits = cut.share("limits", reading.limits, _MAX_LIMITS)
        lanes = cut.share("lanes", reading.lanes, _MAX_LANES)
        cut.count({key: more for key, more in reading.left_out.items() if key != "actors"})
        shortened = attrs.evolve(
            reading,
            actors=(),
            errors=(),
            spend=None,
            lanes=lanes,
            limits=limits,
            calls=_shortened_calls(reading.calls, cut),
            left_out={},
        )
        history = self._history.of(name, limits, now)
        return PageTroupe(name=name, reading=shortened, history=history)


def _of_the_program(
    readings: Iterable[Reading],
) -> tuple[Sequence[ActorReading], Sequence[ErrorReading]]:
    """Return the actors and the crashes of the latest reading: each one has the whole program's."""
    latest = max(readings, key=lambda reading: reading.at, default=None)
    if latest is None:
        return (), ()
    return latest.actors, [error for error in latest.errors if error.crashed]


def _shortened_calls(calls: Sequence[CallReading], cut: "_Cut") -> list[CallReading]:
    """Return the first calls of each state."""
    return [
        call
        for state in ("in flight", "waiting")
        for call in cut.share(
            "calls", [call for call in calls if call.state == state], _MAX_CALLS // 2
        )
    ]


class _Cut:
    """Shortens lists, and counts what they lack.

    Args:
        left_out: where to count it.
        troupes: how many troupes share the bound of a list.
    """

    def __init__(self, left_out: dict[str, int], troupes: int) -> None:
        self._left_out = left_out
        self._troupes = troupes

    def first(self, name: str, items: Sequence[T], most: int) -> Sequence[T]:
        """Return the first items, at most so many."""
        if len(items) > most:
            self.count({name: len(items) - most})
        return items[:most]

    def share(self, name: str, items: Sequence[T], most: int) -> Sequence[T]:
        """Return the first items of one troupe: its part of what all of them may have."""
        return self.first(name, items, most // self._troupes)

    def count(self, left_out: Mapping[str, int]) -> None:
        """Count entries as left out."""
        for name, more in left_out.items():
            self._left_out[name] = self._left_out.get(name, 0) + more
