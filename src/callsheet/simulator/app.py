"""The provider as a Starlette app: it routes requests to the endpoints."""

import re
from collections.abc import Callable, Mapping

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from .arrivals import Arrivals, refusal
from .body import RequestRefused
from .chat import ChatCall
from .completions import CompletionsCall
from .control import ControlEndpoints
from .embeddings import EmbeddingsCall
from .generate_content import MODEL_PATHS, GenerateContentCall, path_members
from .messages import MessagesCall, refuse_old_members
from .moderations import ModerationsCall
from .responses import ResponsesCall
from .service import ModelService, Parse, route
from .settings import ProviderSettings
from .stats import ProviderStats
from .wire import Json, JsonResponse

_MESSAGES = "/v1/messages"
_MODELS = "/v1/models"
_GEMINI_METHOD = re.compile(r"/models/[^/]*:\w+(Content|Contents|Tokens)$")
# {path: how its body is parsed}
_OPENAI: Mapping[str, Parse] = {
    "/v1/chat/completions": ChatCall.parse,
    "/v1/completions": CompletionsCall.parse,
    "/v1/embeddings": EmbeddingsCall.parse,
    "/v1/moderations": ModerationsCall.parse,
    "/v1/responses": ResponsesCall.parse,
}
# Listed when every name is accepted as a model.
_SAMPLE_MODELS = ("gpt-5.4-nano", "gpt-5.4-mini", "text-embedding-3-small")


class Provider:
    """A provider with the endpoints of OpenAI, Anthropic and Gemini: an ASGI app that runs on Trio.

    Args:
        settings: speed, limits, faults and batches; None for the defaults.
        calendar: returns the date in seconds since 1970, for "created", `date` and the reset times
            of Anthropic's limits. The default starts with the year 2026 at the first call, so that
            responses are repeatable.
    """

    def __init__(
        self,
        settings: ProviderSettings | None = None,
        *,
        calendar: Callable[[], float] | None = None,
    ) -> None:
        self.settings = ProviderSettings() if settings is None else settings
        self._arrivals = Arrivals(self.settings, calendar)
        self._service = ModelService(self.settings, self._arrivals)
        self._control = ControlEndpoints(
            self.settings,
            self._arrivals,
            self._service.openai.vendor,
            self._service.anthropic.vendor,
            self._service.gemini.vendor,
            background=self._service.background,
        )
        self._app = Starlette(
            routes=self._routes(),
            exception_handlers={
                RequestRefused: self._refuse,
                HTTPException: self._refuse_route,
                ClientDisconnect: _send_nothing,
            },
        )
        self._app.router.redirect_slashes = False

    def __repr__(self) -> str:
        stats = self.stats
        return f"<Provider: {stats.requests} requests, {stats.in_flight} in flight>"

    @property
    def stats(self) -> ProviderStats:
        """The counts since the provider was made or last reset."""
        self._catch_up()
        return self._arrivals.stats.freeze()

    def reset(self) -> None:
        """Reset the counts and fill every rate-limit bucket; files and batches stay."""
        self._catch_up()
        self._arrivals.stats.renew()
        self._service.refill()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI specifies."""
        await self._app(scope, receive, send)

    def _catch_up(self) -> None:
        """Count what batches have done by now; outside of Trio no time passes for them."""
        if trio.lowlevel.in_trio_run():
            for _ in self._control.catch_up(trio.current_time()):
                pass

    def _routes(self) -> list[BaseRoute]:
        service = self._service
        return [
            *(
                route(path, service.endpoint(service.openai, parse), "POST")
                for path, parse in _OPENAI.items()
            ),
            route(
                _MESSAGES,
                service.endpoint(service.anthropic, MessagesCall.parse, refuse_old_members),
                "POST",
            ),
            *(
                route(
                    f"{path}:{method}",
                    service.endpoint(service.gemini, GenerateContentCall.parse, path_members),
                    "POST",
                )
                for path in MODEL_PATHS
                for method in ("generateContent", "streamGenerateContent")
            ),
            route(_MODELS, self._list_models, "GET"),
            route(f"{_MODELS}/{{name:path}}", self._show_model, "GET"),
            *self._control.routes(),
            route("/health", _show_health, "GET"),
            route("/callsheet/stats", self._show_stats, "GET"),
            route("/callsheet/reset", self._reset, "POST"),
        ]

    async def _list_models(self, request: Request) -> Response:
        self._arrivals.check_key(request, self._service.openai.vendor)
        names = self.settings.models or _SAMPLE_MODELS
        return JsonResponse({"object": "list", "data": [_model(name) for name in names]})

    async def _show_model(self, request: Request) -> Response:
        vendor, name = self._service.openai.vendor, request.path_params["name"]
        self._arrivals.check_key(request, vendor)
        self._arrivals.check_model(name, vendor)
        return JsonResponse(_model(name))

    async def _show_stats(self, _: Request) -> Response:
        return JsonResponse(self.stats.as_json())

    async def _reset(self, _: Request) -> Response:
        self.reset()
        return JsonResponse({})

    async def _refuse(self, request: Request, error: Exception) -> Response:
        """Respond to a refused request that is neither a model call nor about files or batches."""
        assert isinstance(error, RequestRefused)  # noqa: S101 - Starlette selects by class
        path = request.url.path
        counter = self._service.openai
        if path == _MESSAGES or path.startswith(f"{_MESSAGES}/"):
            counter = self._service.anthropic
        elif path.startswith("/v1beta/") or _GEMINI_METHOD.search(path):
            counter = self._service.gemini
        vendor = counter.vendor
        return refusal(error, await self._arrivals.take(request, vendor), vendor)

    async def _refuse_route(self, request: Request, error: Exception) -> Response:
        """Respond to an unknown path or method."""
        assert isinstance(error, HTTPException)  # noqa: S101 - Starlette selects by class
        path, allowed = request.url.path, (error.headers or {}).get("Allow")
        if allowed is None:
            return await self._refuse(request, RequestRefused.no_such_url(request.method, path))
        methods = ", ".join(sorted(allowed.split(", ")))
        return await self._refuse(request, RequestRefused.no_such_method(request.method, methods))


class _NoResponse(Response):
    """The response to a client that has gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


async def _send_nothing(_: Request, __: Exception) -> Response:
    return _NoResponse()


async def _show_health(_: Request) -> Response:
    return JsonResponse({"status": "ok"})


def _model(name: str) -> dict[str, Json]:
    return {"id": name, "object": "model", "created": 1, "owned_by": "callsheet"}
