"""Receive requests: number and date them, and check their keys, models and faults."""

import random
from collections.abc import Callable, Mapping
from email.utils import formatdate

import attrs
import trio
from starlette.requests import Request
from starlette.responses import Response

from .body import RequestBody, RequestRefused
from .call import SimulatedVendor
from .chance import hex_of
from .faults import Fault
from .settings import ProviderSettings
from .stats import RunningStats
from .wire import JSON

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


@attrs.frozen(eq=False)
class Arrival:
    """A numbered request.

    Args:
        request: the HTTP request, with its method, URL and headers.
        body: the whole body.
        begun: the time of its first byte, in seconds on Trio's clock.
        number: the number of the request, from 1.
        at: the time of its last byte.
        request_id: the id in the response's headers.
        headers: the headers of every response to it.
    """

    request: Request
    body: bytes = attrs.field(repr=False)
    begun: float
    number: int
    at: Instant
    request_id: str
    headers: Mapping[str, str]

    def json(self) -> RequestBody:
        """Return the JSON object in the body."""
        return RequestBody.parse(self.body)

    def limit(self, most: int, default: int) -> int:
        """Return the number of items of a list that the query asks for.

        Args:
            most: the largest number that the query may ask for.
            default: the number if the query has none.

        Raises:
            RequestRefused: 400, it is not an integer within its bounds.
        """
        asked = self.request.query_params.get("limit")
        if asked is None:
            return default
        limit = RequestBody({"limit": int(asked) if asked.isdecimal() else asked})
        return limit.integer("limit", 1, most) or default


class Arrivals:
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

    async def take(self, request: Request, vendor: SimulatedVendor) -> Arrival:
        """Receive the whole request; number and date it.

        Raises:
            ClientDisconnect: the client disconnected before its end.
        """
        begun = trio.current_time()
        body = await request.body()
        self._number += 1
        if self._first_arrived is None:
            self._first_arrived = begun
        at = Instant(trio.current_time(), self._calendar())
        request_id = self.request_id()
        headers = vendor.id_headers(request_id) | {"date": formatdate(at.date, usegmt=True)}
        return Arrival(request, body, begun, self._number, at, request_id, headers)

    def request_id(self) -> str:
        """Return the id of the latest request."""
        return f"req_{hex_of('request', self._settings.seed, self._number)}"

    def check_key(self, request: Request, vendor: SimulatedVendor) -> str:
        """Return the key of a request, or "" if no key is required.

        Raises:
            RequestRefused: 401, the key is wrong.
        """
        given = vendor.key_in(request)
        if self._settings.api_key not in (None, given):
            raise vendor.bad_key(given)
        return given or ""

    def check_model(self, name: str, vendor: SimulatedVendor) -> None:
        """Raise `RequestRefused` (404) for an unknown model."""
        if self._settings.models and name not in self._settings.models:
            raise vendor.no_such_model(name)

    def fault(self, request: Request, chance: random.Random) -> Fault | None:
        """Return the fault that the request's header sets, or else one that is drawn.

        Raises:
            RequestRefused: 400, the header is invalid.
        """
        drawn = self._settings.faults.draw(chance)
        asked = request.headers.get(_FAULT_HEADER)
        if asked is None:
            return drawn
        try:
            return Fault.parse(asked)
        except ValueError as error:
            raise RequestRefused(400, f"{_FAULT_HEADER}: {error}") from None

    def _own_calendar(self) -> float:
        return _EPOCH_S + trio.current_time() - (self._first_arrived or 0.0)


def refusal(
    error: RequestRefused,
    arrival: Arrival,
    vendor: SimulatedVendor,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the error response to a refused request.

    Args:
        error: why it is refused.
        arrival: the request, numbered and dated.
        vendor: formats the error.
        headers: the headers besides those of the error; None for those of every response.
    """
    known = arrival.headers if headers is None else headers
    return Response(
        vendor.error_body(error, arrival.request_id),
        status_code=error.status,
        headers={**known, **error.headers},
        media_type=JSON,
    )
