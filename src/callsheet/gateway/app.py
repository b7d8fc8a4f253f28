"""The routes of the gateway: an ASGI app for the server."""

from collections.abc import Mapping, Sequence
from typing import Final, final

import attrs
import httpx
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .calls import CallEndpoint, CallService, CountTokens, Reply, headers_of
from .dialects import DIALECTS
from .errors import Refusal
from .model_pages import ModelPages, ProviderModels, dialect_of
from .request_log import facts_of

_PREFIXES: Final = ("/v1", "")  # clients write the base URL with and without the version
_NOT_SERVED: Final[Mapping[str, str]] = {
    "/files": "files",
    "/uploads": "uploads",
    "/batches": "batches",
    "/messages/batches": "batches",
    "/assistants": "assistants",
    "/threads": "threads",
    "/vector_stores": "vector stores",
    "/images": "images",
    "/audio": "audio",
    "/fine_tuning": "fine-tuning",
    "/moderations": "moderations",
    "/responses/input_tokens": "counts of tokens for Responses",
    "/responses/": "stored responses",
    "/chat/completions/": "stored chats",
    "/conversations": "conversations",
    "/containers": "containers",
    "/realtime": "realtime sessions",
    "/videos": "videos",
}
"""Paths that the providers have and the gateway has not, with what they are."""


def gateway_app(
    service: CallService,
    client: httpx.AsyncClient,
    models: ProviderModels,
    further: Sequence[BaseRoute] = (),
) -> "GatewayApp":
    """Return the ASGI app.

    Args:
        service: what all calls share.
        client: passes counts of tokens on.
        models: the models that providers list.
        further: routes beside those of the calls: health, metrics, the page.
    """
    routes: list[BaseRoute] = [*further]
    calls: dict[str, ASGIApp] = {}
    pages, missing = ModelPages(service, models), NotServed(service)
    for prefix in _PREFIXES:
        for path, dialect in DIALECTS.items():
            endpoint = CallEndpoint(service=service, dialect=dialect)
            calls[f"{prefix}{path}"] = endpoint
            routes.append(Route(f"{prefix}{path}", endpoint, methods=["POST"]))
        count = CountTokens(service=service, client=client)
        routes.append(Route(f"{prefix}/messages/count_tokens", count, methods=["POST"]))
        routes.append(Route(f"{prefix}/models", pages, methods=["GET"]))
        routes.append(Route(f"{prefix}/models/{{name:path}}", pages, methods=["GET"]))
    routes.append(Mount("", missing))
    return GatewayApp(calls, Starlette(routes=routes))


@final
@attrs.frozen
class GatewayApp:
    """The ASGI app of a gateway. Calls find their endpoint without a search through the routes.

    Args:
        calls: the endpoints of calls, by their paths.
        routes: all paths, those of the calls for other methods than POST.
    """

    calls: Mapping[str, ASGIApp]
    routes: Starlette

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Args:
            scope: the request, as ASGI has it.
            receive: receives messages from the client.
            send: sends messages to the client.
        """
        is_call = scope["type"] == "http" and scope["method"] == "POST"
        endpoint = self.calls.get(scope["path"]) if is_call else None
        await (self.routes if endpoint is None else endpoint)(scope, receive, send)


@final
@attrs.frozen
class NotServed:
    """An ASGI app for all other paths: status 404, or 405, in the shape of the client's dialect.

    Args:
        service: what all calls share.
    """

    service: CallService

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Refuse one request.

        Args:
            scope: the request, as ASGI has it.
            send: sends messages to the client.
        """
        path, method = scope["path"], scope["method"]
        reply = Reply.to(send, dialect_of(headers_of(scope), path), self.service.new_id())
        facts_of(scope).request_id = reply.request_id
        bare = path.removeprefix("/v1").rstrip("/")
        if bare in DIALECTS or bare == "/messages/count_tokens":
            text = f"{method} is not allowed at {path:.200}; use POST"
            reply.head.append((b"allow", b"POST"))
            await reply.refuse(Refusal(status=405, kind="invalid_request", message=text))
            return
        what = next((what for start, what in _NOT_SERVED.items() if bare.startswith(start)), None)
        text = f"there is nothing at {path:.200}; the APIs are below /v1, and the page is at /ui"
        if what is not None:
            text = f"this gateway serves no {what}; send such requests to the provider itself"
        await reply.refuse(Refusal(status=404, kind="not_found", message=text, code="not_served"))
