"""OpenAI's Responses."""

from collections.abc import Mapping
from typing import Final, Literal, final

import attrs

from ...actors import Json, Response
from ...bodies import RESPONSES, InvalidBody, is_alone, response_body, response_usage, split_members
from ..errors import Refusal
from .dialect import DialectName, InboundCall, StreamWriter
from .error_bodies import openai_error, responses_error_event
from .made import complete
from .reading import build_request, flag, need
from .response_events import ResponseWriter
from .response_objects import ECHOED, is_made_reasoning, whole_response
from .sse import to_json
from .tools import take_choice, take_tools

_MEMBERS = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "json_schema": "text.format.schema",
}


@final
@attrs.frozen
class ResponsesDialect:
    """``POST /v1/responses``."""

    name: Final[DialectName] = "responses"
    vendor: Final[Literal["openai", "anthropic"]] = "openai"

    def read(self, body: Mapping[str, Json]) -> InboundCall:
        """Return the call that a body asks for; see `Dialect`.

        What a client cannot fetch later, because the gateway keeps no responses, is refused.
        """
        need(body, "model", "input")
        if flag(body, "background"):
            text = '"background" is not supported: the gateway keeps no responses to fetch later'
            raise InvalidBody(text, "background")
        fields, extra = split_members(_without_made_reasoning(body), RESPONSES)
        is_streamed = flag(extra, "stream")
        for name in ("stream", *(() if is_streamed else ("stream_options",))):
            extra.pop(name, None)
        extra.setdefault("store", None)  # what the body does not say is not said (L15)
        _take_schema(fields, extra)
        if take_tools(fields, extra, "responses"):
            take_choice(fields, extra, is_flat=True)
        request = build_request("chat", fields, _MEMBERS, extra_body=extra, dialect="responses")
        echoes = {name: body[name] for name in ECHOED if body.get(name) is not None}
        return InboundCall(request=request, is_streamed=is_streamed, echoes=echoes)

    def whole(self, call: InboundCall, response: Response, *, name: str, created: int) -> bytes:
        """Return the body of a whole answer; see `Dialect`."""
        body = response.body
        if body is not None and isinstance(body.get("output"), list):
            return to_json(
                body if is_alone(response) else {**body, "usage": response_usage(response.usage)}
            )
        made = response_body(complete(response, name), f"resp_{name}", created)
        return to_json(whole_response(made, call.echoes, name))

    def stream(self, call: InboundCall, *, name: str, created: int) -> StreamWriter:
        """Return what writes a streamed answer; see `Dialect`."""
        return ResponseWriter(call, name, created)

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an answer with an error status; see `Dialect`."""
        return openai_error(refusal, request_id)

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the event with which a stream that has begun fails; see `Dialect`."""
        return responses_error_event(refusal, request_id)


def _without_made_reasoning(body: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a body without reasoning that the gateway made from another dialect.

    A provider refuses it, because it has no such item.
    """
    items = body.get("input")
    if not isinstance(items, list):
        return body
    own = [item for item in items if not (isinstance(item, dict) and is_made_reasoning(item))]
    return body if len(own) == len(items) else {**body, "input": own}


def _take_schema(fields: dict[str, object], extra: dict[str, Json]) -> None:
    """Read the schema of ``text.format``; what differs from how it is sent stays in `extra`."""
    text = extra.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(text, dict) or not isinstance(wanted, dict):
        return
    schema = wanted.get("schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
        return
    fields["json_schema"] = schema
    rest: dict[str, Json] = {"strict": False, **wanted}  # the default of "strict" is False
    del rest["type"], rest["schema"]
    if rest.get("name") == "answer":  # as a `Request` names it
        del rest["name"]
    if rest["strict"] is True:
        del rest["strict"]
    others: dict[str, Json] = {name: value for name, value in text.items() if name != "format"}
    if rest:
        others["format"] = rest
    if others:
        extra["text"] = others
    else:
        del extra["text"]
