"""The middleware of every request: number, date, key check and fault."""

import random
from collections.abc import Callable, Mapping
from email.utils import formatdate

import attrs
import trio

from .body import RequestRefused
from .chance import hex_of
from .delivery import JSON_BODY
from .exchange import AsgiExchange
from .faults import Fault
from .settings import ProviderSettings
from .stats import RunningStats
from .vendor import SimulatedVendor

_FAULT_HEADER = "x-callsheet-fault"
# The default calendar starts with the year 2026 (R13).
_EPOCH_S = 1_767_225_600


@attrs.frozen
class Instant:
    """A time on both clocks.

    Args:
        clock: seconds on Trio's clock.
        date: seconds since 1970.
    """

    clock: float
    date: float

    def date_of(self, clock: float) -> float:
        """Return the date of another time on Trio's clock."""
        return self.date + clock - self.clock


@attrs.frozen
class Arrival:
    """A numbered request.

    Args:
        number: the number of the request, from 1.
        at: the time of its arrival.
        request_id: the id in the response's headers.
        headers: the headers of every response to it.
    """

    number: int
    at: Instant
    request_id: str
    headers: Mapping[str, str]


class FaultMiddleware:
    """Numbers requests, checks their keys and models, and selects their faults.

    Args:
        settings: the provider's settings.
        calendar: returns the date in seconds since 1970; the default starts with the year 2026.
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
        """Number and date a request."""
        self._number += 1
        if self._first_arrived is None:
            self._first_arrived = exchange.arrived
        at = Instant(trio.current_time(), self._calendar())
        request_id = self.request_id()
        headers = vendor.id_headers(request_id) | {"date": formatdate(at.date, usegmt=True)}
        return Arrival(self._number, at, request_id, headers)

    def request_id(self) -> str:
        """Return the id of the latest request."""
        return f"req_{hex_of('request', self._settings.seed, self._number)}"

    def check_key(self, exchange: AsgiExchange, vendor: SimulatedVendor) -> str:
        """Return the key of a request, or "" if no key is required.

        Raises:
            RequestRefused: 401, the key is wrong.
        """
        given = vendor.key_in(exchange)
        if self._settings.api_key not in (None, given):
            raise vendor.bad_key(given)
        return given or ""

    def check_model(self, name: str, vendor: SimulatedVendor) -> None:
        """Raise `RequestRefused` (404) for an unknown model."""
        if self._settings.models and name not in self._settings.models:
            raise vendor.no_such_model(name)

    def fault(self, exchange: AsgiExchange, chance: random.Random) -> Fault | None:
        """Return the fault that the request's header sets, or else one that is drawn.

        Raises:
            RequestRefused: 400, the header is invalid.
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
        """Send an error response."""
        body = vendor.error_body(error, arrival.request_id)
        headers = {**arrival.headers, **JSON_BODY, **error.headers}
        await exchange.answer(error.status, body, headers)

    def _own_calendar(self) -> float:
        return _EPOCH_S + trio.current_time() - (self._first_arrived or 0.0)
