"""Anthropic's count_tokens: Anthropic counts without charge; for others it is an estimate."""

from collections.abc import Mapping
from functools import partial
from typing import Final, final

import attrs
import httpx
import orjson
from starlette.types import Receive, Scope, Send

from ...actors import Endpoint, Json
from ...serving import Gone, call_until_gone
from ..dialects import MESSAGES, estimate_tokens
from ..errors import InvalidBody, Refusal, Refused, refusal_of
from .bodies import read_body, read_json
from .reply import Reply, headers_of
from .response_headers import json_headers
from .service import CallService

_PATH: Final = "/messages/count_tokens"
_PASSED_ON: Final = ("anthropic-beta", "anthropic-version")
_IS_ESTIMATE: Final = (b"x-callsheet-estimated", b"true")
_TIMEOUT_S: Final = 60.0


@final
@attrs.frozen(kw_only=True)
class CountTokens:
    """An ASGI app that passes a count on to the endpoint of its model.

    A count is free of charge and has limits of its own at Anthropic. So it takes no turn and no
    budget, and what Anthropic refuses is passed on.

    Args:
        service: what all calls share.
        client: sends the requests.
    """

    service: CallService
    client: httpx.AsyncClient

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Args:
            scope: the request, as ASGI has it.
            receive: receives messages from the client.
            send: sends messages to the client.
        """
        headers = headers_of(scope)
        reply = Reply.to(send, MESSAGES, self.service.new_id())
        try:
            with self.service.counted():
                caller = self.service.callers.identify(headers)
                rules = self.service.rules
                body = await read_body(
                    receive, headers, max_bytes=rules.max_body_bytes, within_s=rules.body_timeout_s
                )
                asked = dict(read_json(body))
                call = MESSAGES.read({"max_tokens": 1, **asked})
                target = self.service.target(call.request.model, caller)
                endpoint = target.served.settings.endpoint.each[0]
                if endpoint.vendor.name != "anthropic":
                    count = estimate_tokens(call, self.service.estimator)
                    await reply.whole(count, [*json_headers(count), _IS_ESTIMATE])
                    return
                asked["model"] = target.model
                found = await call_until_gone(receive, partial(self._ask, endpoint, asked, headers))
            await reply.whole(found.content, [*json_headers(found.content)], found.status_code)
        except Gone:
            pass
        except (Refused, InvalidBody) as error:
            await reply.refuse(refusal_of(error))

    async def _ask(
        self, endpoint: Endpoint, body: Mapping[str, Json], given: Mapping[str, str]
    ) -> httpx.Response:
        """Ask the provider.

        Raises:
            Refused: it does not respond, or refuses the gateway's own key.
        """
        own = {name: given[name] for name in _PASSED_ON if name in given}
        try:
            response = await self.client.post(
                endpoint.base_url + _PATH,
                content=orjson.dumps(body),
                headers={"content-type": "application/json", **own, **endpoint.auth_headers()},
                timeout=_TIMEOUT_S,
            )
        except httpx.HTTPError as error:
            text = f"the provider did not count the tokens: {type(error).__name__}"
            raise Refused(Refusal(status=502, kind="provider", message=text)) from None
        if response.status_code in (401, 403):
            text = "the provider refuses the gateway's own key"
            raise Refused(Refusal(status=502, kind="provider", message=text, should_retry=False))
        return response
