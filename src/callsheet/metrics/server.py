"""The ASGI app that answers scrapes."""

from collections.abc import Awaitable, Callable
from typing import Final, final

import attrs
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse
from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from ..serving import ServingLimits
from .exposition import Exposition

PATHS = ("/metrics", "/")
"""The paths at which the server answers; an app that is mounted answers at each path."""

LIMITS: Final = ServingLimits(max_connections=256, max_body_bytes=64 * 1024)
"""The bounds on scrapers, and on other clients of their server."""


@final
@attrs.frozen
class ScrapeApp:
    """An ASGI app that answers scrapes.

    Args:
        expose: returns the metrics in the format that the header `Accept` asks for.
        paths: the paths at which it answers; None for each path.
    """

    expose: Callable[[str], Awaitable[Exposition]]
    paths: tuple[str, ...] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *_threads: object) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        response = await self._answer(HttpRequest(scope))
        await response(scope, receive, send)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if self.paths is not None and request.url.path not in self.paths:
            return PlainTextResponse("the metrics are at /metrics\n", 404)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("use GET\n", 405, {"Allow": "GET, HEAD"})
        exposition = await self.expose(request.headers.get("accept", ""))
        return HttpResponse(exposition.body, headers={"Content-Type": exposition.content_type})
