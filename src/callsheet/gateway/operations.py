"""The routes for those who run a gateway: health, readiness, metrics, and `callsheet top`."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from ..actors import Reading, this_program, to_line
from .page import TooManyAttempts

if TYPE_CHECKING:
    from ..metrics import Exposition

HEALTH, READINESS, METRICS, TOP = "/healthz", "/readyz", "/metrics", "/api/top"

_NO_STORE = {"Cache-Control": "no-store"}
_LINES = "application/x-ndjson"


@attrs.frozen
class Readiness:
    """Whether a gateway accepts calls, as `/readyz` reports it.

    Args:
        ready: whether calls are accepted.
        not_ready: {part that cannot take calls now: the reason}; empty if all can.
    """

    ready: bool
    not_ready: Mapping[str, str]


class OperatedGateway(Protocol):
    """A running gateway, as those who run it see it."""

    async def not_ready(self) -> Mapping[str, str]:
        """Return each part that cannot take calls now, with the reason; empty if all can."""
        ...

    def may_look(self, request: HttpRequest) -> bool:
        """Return whether a client may see figures: it is on this machine, or has the admin key.

        Args:
            request: what the client has sent.

        Raises:
            TooManyAttempts: wrong keys came from the same address; this one was not looked at.
        """
        ...

    @property
    def exposes_metrics(self) -> bool:
        """Whether anyone who can connect may read the metrics."""
        ...

    async def exposition(self, accept: str) -> "Exposition":
        """Return the metrics of this moment.

        Args:
            accept: the header `Accept` of the scrape.

        Raises:
            ImportError: what writes them is not installed; the message says how to install it.
        """
        ...

    async def reading(self) -> Reading:
        """Return one reading of all troupes."""
        ...


def operation_routes(gateway: OperatedGateway) -> list[Route]:
    """Return the routes of a gateway.

    Health and readiness are open to all who can connect, and name no model, key or host.

    Args:
        gateway: the gateway that runs.
    """

    async def health(_: HttpRequest) -> HttpResponse:
        return PlainTextResponse("ok\n", headers=_NO_STORE)

    async def readiness(_: HttpRequest) -> HttpResponse:
        missing = dict(await gateway.not_ready())
        body = Readiness(ready=not missing, not_ready=missing)
        return JSONResponse(attrs.asdict(body), 503 if missing else 200, headers=_NO_STORE)

    async def metrics(request: HttpRequest) -> HttpResponse:
        if not gateway.exposes_metrics and (refusal := _refusal(gateway, request)) is not None:
            return refusal
        try:
            exposition = await gateway.exposition(request.headers.get("accept", ""))
        except ImportError as error:
            return PlainTextResponse(f"{error}\n", 404)
        headers = {"Content-Type": exposition.content_type} | _NO_STORE
        return HttpResponse(exposition.body, headers=headers)

    async def top(request: HttpRequest) -> HttpResponse:
        if (refusal := _refusal(gateway, request)) is not None:
            return refusal
        lines = to_line(this_program()) + to_line(await gateway.reading())
        return HttpResponse(lines, media_type=_LINES, headers=_NO_STORE)

    handlers: dict[str, Callable[[HttpRequest], object]] = {
        HEALTH: health,
        READINESS: readiness,
        METRICS: metrics,
        TOP: top,
    }
    return [Route(path, handler, methods=["GET"]) for path, handler in handlers.items()]


def _refusal(gateway: OperatedGateway, request: HttpRequest) -> HttpResponse | None:
    try:
        if gateway.may_look(request):
            return None
    except TooManyAttempts as error:
        wait = {"Retry-After": str(math.ceil(error.wait_s))}
        return PlainTextResponse(f"{error}\n", 429, headers=wait | _NO_STORE)
    words = "this needs the admin key of the gateway: Authorization: Bearer KEY\n"
    return PlainTextResponse(words, 401, headers={"WWW-Authenticate": "Bearer"} | _NO_STORE)
