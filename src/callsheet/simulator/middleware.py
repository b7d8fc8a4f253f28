"""What every request meets first: a number, the date, its key, and the fault it is to have."""

import random
from collections.abc import Callable, Mapping
from email.utils import formatdate

import attrs
import trio

from .apierror import RequestRefused
from .chance import hex_of
from .delivery import JSON_BODY
from .exchange import AsgiExchange
from .faults import Fault
from .settings import ProviderSettings
from .stats import RunningStats
from .vendor import SimulatedVendor

__all__ = [
    "Arrival",
    "FaultMiddleware",
    "Instant",
]


_FAULT_HEADER = "x-callsheet-fault"
# The provider's own clock, unless it is given another, starts with the year 2026 (R13).
_EPOCH_S = 1_767_225_600


@attrs.frozen
class Instant:
    """A moment, on both clocks.

    Args:
        clock: seconds on Trio's clock.
        date: seconds since 1970.
    """

    clock: float
    date: float

    def date_of(self, clock: float) -> float:
        """The date of another moment."""
        return self.date + clock - self.clock


@attrs.frozen
class Arrival:
    """A request that was let in at the door.

    Args:
        number: how many requests there were, with this one.
        at: when it came.
        request_id: its id.
        headers: what its answer has in any case.
    """

    number: int
    at: Instant
    request_id: str
    headers: Mapping[str, str]


class FaultMiddleware:
    """Takes requests in.

    Args:
        settings: the provider's.
        calendar: tells the date in seconds since 1970; by default a clock of its own.
    """

    def __init__(
        self, settings: ProviderSettings, calendar: Callable[[], float] | None = None
    ) -> None:
        self._settings = settings
        self._calendar = self._own_calendar if calendar is None else calendar
        self._number = 0
        self._first_arrived: float | None = None
        self.stats = RunningStats()

    def take(self, exchange: AsgiExchange, vendor: SimulatedVendor) -> Arrival:
        """Give a request its number and its date."""
        self._number += 1
        if self._first_arrived is None:
            self._first_arrived = exchange.arrived
        at = Instant(trio.current_time(), self._calendar())
        request_id = self.request_id()
        headers = vendor.id_headers(request_id) | {"date": formatdate(at.date, usegmt=True)}
        return Arrival(self._number, at, request_id, headers)

    def request_id(self) -> str:
        """The id of the latest request."""
        return f"req_{hex_of('request', self._settings.seed, self._number)}"

    def check_key(self, exchange: AsgiExchange, vendor: SimulatedVendor) -> str:
        """The key a request brings, or nothing where none is needed.

        Raises:
            RequestRefused: 401, it is not the right one.
        """
        given = vendor.key_in(exchange)
        if self._settings.api_key not in (None, given):
            raise vendor.bad_key(given)
        return given or ""

    def check_model(self, name: str, vendor: SimulatedVendor) -> None:
        """Raise `RequestRefused` 404 when there is no such model."""
        if self._settings.models and name not in self._settings.models:
            raise vendor.no_such_model(name)

    def fault(self, exchange: AsgiExchange, chance: random.Random) -> Fault | None:
        """The fault that a request asks for by its header, or else one that is drawn.

        Raises:
            RequestRefused: 400, it asks for one that there is not.
        """
        drawn = self._settings.faults.draw(chance)
        asked = exchange.headers.get(_FAULT_HEADER)
        if asked is None:
            return drawn
        try:
            return Fault.parse(asked)
        except ValueError as error:
            raise RequestRefused(400, f"{_FAULT_HEADER}: {error}") from None

    async def refuse(
        self,
        exchange: AsgiExchange,
        vendor: SimulatedVendor,
        error: RequestRefused,
        arrival: Arrival,
    ) -> None:
        """Answer with an error."""
        body = vendor.error_body(error, arrival.request_id)
        headers = {**arrival.headers, **JSON_BODY, **error.headers}
        await exchange.answer(error.status, body, headers)

    def _own_calendar(self) -> float:
        return _EPOCH_S + trio.current_time() - (self._first_arrived or 0.0)
