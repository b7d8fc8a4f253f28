"""The models that clients may name: those of the file, and those that its patterns stand for."""

from collections.abc import Mapping
from typing import Final, final

import attrs
import httpx
import structlog
import trio
from starlette.types import Receive, Scope, Send

from .calls import CallService, Reply, headers_of, json_headers
from .dialects import DIALECTS, Dialect, model_entry, model_list
from .endpoints import ServedEndpoint, ServedEndpoints
from .errors import Refused
from .request_log import facts_of

_log = structlog.get_logger("callsheet.gateway")
_MAX_AGE_S: Final = 300.0
_TIMEOUT_S: Final = 5.0
_MOST: Final = 1000  # models of an endpoint


@final
class ProviderModels:
    """The models that providers list, read again after five minutes when a client asks for them.

    Only endpoints to which a pattern leads are asked. One that does not reply in 5 seconds, or not
    as OpenAI and Anthropic do, adds what it listed before.

    Args:
        endpoints: the endpoints of the gateway.
        client: sends the requests.
    """

    def __init__(self, endpoints: ServedEndpoints, client: httpx.AsyncClient) -> None:
        self._endpoints = endpoints
        self._client = client
        self._listed: dict[str, list[str]] = {}  # {name of the endpoint: its models}
        self._reading = trio.Lock()
        self._read_at: float | None = None

    async def names(self) -> list[str]:
        """Return the names that the gateway serves: those of the file first."""
        async with self._reading:
            now = trio.current_time()
            if self._read_at is None or now - self._read_at > _MAX_AGE_S:
                self._read_at = now
                async with trio.open_nursery() as nursery:
                    for served in self._endpoints.behind_patterns:
                        nursery.start_soon(self._read, served)
        known = self._endpoints.names()
        listed = (name for names in self._listed.values() for name in names)
        return list(dict.fromkeys([*known, *(one for one in listed if self._endpoints.find(one))]))

    async def _read(self, served: ServedEndpoint) -> None:
        endpoint = served.settings.endpoint.each[0]
        try:
            response = await self._client.get(
                f"{endpoint.base_url}/models",
                params=dict(endpoint.query),
                headers=endpoint.auth_headers(),
                timeout=_TIMEOUT_S,
            )
            body = response.raise_for_status().json()
            self._listed[served.name] = [str(one["id"]) for one in body["data"]][:_MOST]
        except (httpx.HTTPError, ValueError, TypeError, KeyError) as error:
            _log.info("models_not_listed", endpoint=served.name, reason=type(error).__name__)


def dialect_of(headers: Mapping[str, str], path: str = "") -> Dialect:
    """Return the dialect of a client whose request has no body to tell it by.

    Args:
        headers: the headers of the request, by names in lower case.
        path: the path of the request.
    """
    is_anthropic = "anthropic-version" in headers or "/messages" in path
    return DIALECTS["/messages" if is_anthropic else "/chat/completions"]


@final
@attrs.frozen
class ModelPages:
    """An ASGI app that lists the models which a client may name.

    Args:
        service: what all calls share.
        models: the models that the gateway serves.
    """

    service: CallService
    models: ProviderModels

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request.

        Args:
            scope: the request, as ASGI has it.
            send: sends messages to the client.
        """
        headers = headers_of(scope)
        dialect = dialect_of(headers)
        reply, facts = Reply.to(send, dialect, self.service.new_id()), facts_of(scope)
        facts.request_id = reply.request_id
        try:
            caller = self.service.callers.identify(headers)
            facts.key = caller.id
            name = scope["path_params"].get("name")
            if name is None:
                names = [one for one in await self.models.names() if caller.may_use(one)]
                body = model_list(names, dialect.vendor)
            else:
                self.service.target(name, caller)
                body = model_entry(name, dialect.vendor)
        except Refused as error:
            await reply.refuse(error.refusal)
        else:
            await reply.whole(body, json_headers(body))
