"""The provider as an ASGI app: it routes requests to the endpoints."""

from collections.abc import Callable, Mapping

import trio

from .batch_api.routes import BatchEndpoints
from .body import RequestRefused
from .chat import ChatCall
from .completions import CompletionsCall
from .control import ControlService
from .delivery import JSON_BODY
from .embeddings import EmbeddingsCall
from .exchange import AsgiExchange, AsgiScope, ClientGone, Receive, Send
from .messages import MessagesCall
from .middleware import FaultMiddleware
from .service import ModelService, Parse
from .settings import ProviderSettings
from .stats import ProviderStats
from .wire import Json, compact

# {path: how its body is read}
_OPENAI: Mapping[str, Parse] = {
    "/v1/chat/completions": ChatCall.parse,
    "/v1/completions": CompletionsCall.parse,
    "/v1/embeddings": EmbeddingsCall.parse,
}
_MESSAGES = "/v1/messages"
# Listed when every name is accepted as a model.
_SAMPLE_MODELS = ("gpt-3.5-turbo", "gpt-4o-mini", "text-embedding-3-small")
_MODELS = "/v1/models"


class Provider:
    """A provider with OpenAI's and Anthropic's endpoints: an ASGI app that runs on Trio.

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
        self._middleware = FaultMiddleware(self.settings, calendar)
        self._service = ModelService(self.settings, self._middleware)
        self._batching = BatchEndpoints(
            self.settings,
            self._middleware,
            self._service.openai.vendor,
            self._service.anthropic.vendor,
        )
        self._control = ControlService(self.settings, self._middleware, self._batching)

    def __repr__(self) -> str:
        stats = self.stats
        return f"<Provider: {stats.requests} requests, {stats.in_flight} in flight>"

    @property
    def stats(self) -> ProviderStats:
        """The counts since the provider was made or last reset."""
        self._catch_up()
        return self._middleware.stats.freeze()

    def reset(self) -> None:
        """Reset the counts and fill every rate-limit bucket; files and batches stay."""
        self._catch_up()
        self._middleware.stats.renew()
        self._service.refill()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI specifies."""
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await send({"type": "websocket.close"})

    async def _serve(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            exchange = await AsgiExchange.read(scope, receive, send)
        except ClientGone:
            return
        service, path = self._service, exchange.path
        if exchange.method == "POST":
            if path in _OPENAI:
                await service.serve(exchange, service.openai, _OPENAI[path])
                return
            if path == _MESSAGES:
                await service.serve(exchange, service.anthropic, MessagesCall.parse)
                return
        route = self._batching.route(path)
        if route is not None:
            await self._control.serve(exchange, route)
            return
        try:
            found = self._look_up(exchange)
        except RequestRefused as error:
            is_anthropic = path == _MESSAGES or path.startswith(f"{_MESSAGES}/")
            counter = service.anthropic if is_anthropic else service.openai
            arrival = self._middleware.take(exchange, counter.vendor)
            await self._middleware.refuse(exchange, counter.vendor, error, arrival)
        else:
            await exchange.answer(200, compact(found), JSON_BODY)

    def _catch_up(self) -> None:
        """Count what batches have done by now; outside of Trio no time passes for them."""
        if trio.lowlevel.in_trio_run():
            for _ in self._batching.catch_up(trio.current_time()):
                pass

    def _look_up(self, exchange: AsgiExchange) -> Mapping[str, Json]:
        """Respond to a request that is not a model call."""
        vendor = self._service.openai.vendor
        match exchange.method, exchange.path:
            case "GET", "/health":
                return {"status": "ok"}
            case "GET", "/callsheet/stats":
                return self.stats.as_json()
            case "POST", "/callsheet/reset":
                self.reset()
                return {}
            case "GET", path if path == _MODELS:
                self._middleware.check_key(exchange, vendor)
                names = self.settings.models or _SAMPLE_MODELS
                return {"object": "list", "data": [_model(name) for name in names]}
            case "GET", path if path.startswith(f"{_MODELS}/"):
                self._middleware.check_key(exchange, vendor)
                name = path.removeprefix(f"{_MODELS}/")
                self._middleware.check_model(name, vendor)
                return _model(name)
            case method, path if path in (*_OPENAI, _MESSAGES, "/callsheet/reset"):
                raise RequestRefused.no_such_method(method, "POST")
            case method, ("/health" | "/callsheet/stats" | "/v1/models"):
                raise RequestRefused.no_such_method(method, "GET")
            case method, path:
                raise RequestRefused.no_such_url(method, path)


def _model(name: str) -> dict[str, Json]:
    return {"id": name, "object": "model", "created": 1, "owned_by": "callsheet"}


async def _live(receive: Receive, send: Send) -> None:
    """Acknowledge the server's start and stop."""
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
