"""Anthropic's messages, and the count of their tokens."""

import math
from collections.abc import Mapping
from typing import Final, Literal, cast, final

import attrs

from ...actors import ChatMessage, Json, Response, TokenEstimator, Tool
from ...bodies import (
    MESSAGES,
    InvalidBody,
    is_alone,
    message_body,
    message_usage,
    split_members,
    wrong_kind,
)
from ..errors import Refusal
from .dialect import DialectName, InboundCall, StreamWriter
from .error_bodies import anthropic_error, anthropic_error_event
from .made import complete
from .message_events import MessageWriter
from .reading import build_request, flag, need
from .sse import to_json
from .tools import take_tools

_MEMBERS = {"json_schema": "output_config.format.schema", "stop": "stop_sequences"}
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}

ESTIMATED = "callsheet_estimated"
"""The member that says that the count is an estimate."""


@final
@attrs.frozen
class MessagesDialect:
    """``POST /v1/messages``."""

    name: Final[DialectName] = "messages"
    vendor: Final[Literal["openai", "anthropic"]] = "anthropic"

    def read(self, body: Mapping[str, Json]) -> InboundCall:
        """Return the call that a body asks for; see `Dialect`."""
        need(body, "model", "max_tokens", "messages")
        return self._read(body)

    def read_to_count(self, body: Mapping[str, Json]) -> InboundCall:
        """Return the call whose tokens are to be counted; its body needs no ``max_tokens``.

        Args:
            body: the decoded JSON.

        Raises:
            InvalidBody: the body is invalid; the error names the member.
        """
        need(body, "model", "messages")
        return self._read(body)

    def _read(self, body: Mapping[str, Json]) -> InboundCall:
        fields, extra = split_members(_without_made_thinking(body), MESSAGES)
        if fields.get("max_tokens") == 0:  # fills the prompt cache, and generates nothing
            del fields["max_tokens"]
            extra["max_tokens"] = 0
        is_streamed = flag(extra, "stream")
        extra.pop("stream", None)
        _take_system(fields, extra)
        _take_schema(fields, extra)
        if take_tools(fields, extra, "anthropic"):
            _take_choice(fields, extra)
        request = build_request("chat", fields, _MEMBERS, extra_body=extra, dialect="anthropic")
        return InboundCall(request=request, is_streamed=is_streamed)

    def whole(self, call: InboundCall, response: Response, *, name: str, created: int) -> bytes:  # noqa: ARG002  # as the protocol has it
        """Return the body of a whole answer; see `Dialect`."""
        body = response.body
        if body is not None and isinstance(body.get("content"), list):
            return to_json(
                body if is_alone(response) else {**body, "usage": message_usage(response.usage)}
            )
        return to_json(message_body(complete(response, name), f"msg_{name}"))

    def stream(self, call: InboundCall, *, name: str, created: int) -> StreamWriter:  # noqa: ARG002  # as the protocol has it
        """Return what writes a streamed answer; see `Dialect`."""
        return MessageWriter(f"msg_{name}", call.request.model, name)

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an answer with an error status; see `Dialect`."""
        return anthropic_error(refusal, request_id)

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the event with which a stream that has begun fails; see `Dialect`."""
        return anthropic_error_event(refusal, request_id)


def _without_made_thinking(body: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a body without blocks of thinking that the gateway made from another dialect.

    They have no signature, so that Anthropic refuses them.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    cleaned = [_without_unsigned(message) for message in messages]
    return body if cleaned == messages else {**body, "messages": cleaned}


def _without_unsigned(message: Json) -> Json:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(content, list):
        return message
    signed: Json = [block for block in content if not _is_unsigned(block)]
    return {**message, "content": signed} if signed and signed != content else message


def _is_unsigned(block: Json) -> bool:
    return (
        isinstance(block, dict) and block.get("type") == "thinking" and block.get("signature") == ""
    )


def _take_system(fields: dict[str, object], extra: dict[str, Json]) -> None:
    """Read ``system``, a text or a list of blocks, as the first message."""
    system = extra.pop("system", None)
    if not system:
        return
    if isinstance(system, str):
        first = ChatMessage("system", system)
    else:
        if not isinstance(system, list):
            raise wrong_kind("system", "a string or a list of blocks", system)
        texts: list[str] = []
        for at, block in enumerate(system):
            text = block.get("text") if isinstance(block, dict) else None
            if not isinstance(text, str):
                raise InvalidBody(f'"system[{at}]" must be a block with a text', f"system[{at}]")
            texts.append(text)
        try:
            first = ChatMessage("system", "\n".join(texts), extra={"content": system})
        except ValueError as error:
            raise InvalidBody(str(error), "system") from None
    messages = cast("tuple[ChatMessage, ...]", fields["messages"])
    fields["messages"] = (first, *messages)


def _take_schema(fields: dict[str, object], extra: dict[str, Json]) -> None:
    """Read the schema of ``output_config``; what else it has stays in `extra`."""
    config = extra.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(wanted, dict):
        return
    schema = wanted.get("schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
        return
    fields["json_schema"] = schema
    rest: dict[str, Json] = {name: value for name, value in config.items() if name != "format"}
    more = {name: value for name, value in wanted.items() if name not in ("type", "schema")}
    if more:
        rest["format"] = more
    if rest:
        extra["output_config"] = rest
    else:
        del extra["output_config"]


def _take_choice(fields: dict[str, object], extra: dict[str, Json]) -> None:
    """Read ``tool_choice``; what else it has, such as no parallel calls, stays in `extra`."""
    given = extra.get("tool_choice")
    if given is None:
        extra.pop("tool_choice", None)
        return
    if not isinstance(given, dict):
        raise wrong_kind("tool_choice", "an object", given)
    kind, name = given.get("type"), given.get("name")
    rest = {member: value for member, value in given.items() if member != "type"}
    if kind == "tool":
        tools = cast("tuple[Tool, ...]", fields["tools"])
        if name in _CHOICES.values() or all(tool.name != name for tool in tools):
            return
        choice = rest.pop("name")
    else:
        choice = _CHOICES.get(kind) if isinstance(kind, str) else None
    if choice is None:
        return
    fields["tool_choice"] = choice
    if rest:
        extra["tool_choice"] = rest
    else:
        del extra["tool_choice"]


def count_body(input_tokens: int) -> bytes:
    """Return the body with the number of tokens.

    Args:
        input_tokens: the tokens of the prompt.
    """
    return to_json({"input_tokens": input_tokens})


def estimate_tokens(call: InboundCall, estimator: TokenEstimator) -> bytes:
    """Return the body with an estimate of the tokens, which says that it is one.

    Args:
        call: the call whose tokens are estimated.
        estimator: estimates tokens, and learns from what providers report.
    """
    members: dict[str, Json] = {
        "input_tokens": math.ceil(estimator.estimate(call.request).input_tokens),
        ESTIMATED: True,
    }
    return to_json(members)
