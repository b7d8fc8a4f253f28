"""The members of a message: one that is given as the SDKs take it, or a response. Pure (R14)."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, cast, get_args

import attrs
import orjson

from .json_value import Json, kind_of
from .responses import Response, ToolCall

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
"""Who has written a message of a chat."""

_ROLES: Mapping[str, Role] = {role: role for role in get_args(Role)}


class MessageMembers(NamedTuple):
    """The members of a message.

    Args:
        role: the author of the message.
        content: the text of all parts, joined by newlines as vLLM joins them.
        extra: the other members, and a `content` of parts; None if there are none.
        native: as for `ChatMessage`.
    """

    role: Role
    content: str
    extra: Mapping[str, Json] | None = None
    native: Mapping[str, Json] | None = None


def read_message(message: object, name: str) -> MessageMembers:
    """Read a message as the SDKs of OpenAI and Anthropic take it.

    Args:
        message: the JSON object.
        name: what it is called in an error, such as "messages[0]".

    Raises:
        ValueError: it is no such message; the text names the member that is wrong.
    """
    if not isinstance(message, Mapping):
        raise ValueError(f'"{name}" must be an object, not {kind_of(message)}')  # noqa: TRY004  # as for its members
    members = cast("Mapping[str, Json]", message)
    role, content = members.get("role"), members.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        known = ", ".join(_ROLES)
        raise ValueError(f'"{name}.role" is {kind_of(role)}; it must be one of {known}')
    if isinstance(content, str) and len(members) == 2:  # noqa: PLR2004  # role and content, as usual
        return MessageMembers(_ROLES[role], content)
    # A response used as a message has members such as "refusal": null and "annotations": [].
    further: dict[str, Json] = {
        member: value
        for member, value in members.items()
        if member not in ("role", "content") and value is not None and value != []
    }
    if content is None and further:  # an assistant message with tool calls
        return MessageMembers(_ROLES[role], "", {"content": None, **further})
    text = _content(f"{name}.content", content)
    if not isinstance(content, str):
        further["content"] = content  # parts are sent as they are written (L15)
    return MessageMembers(_ROLES[role], text, further or None)


def is_texts(content: Json) -> bool:
    """Return whether a content is a list of parts that are texts and nothing else.

    Args:
        content: the content of a message.
    """
    return isinstance(content, list) and all(
        isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"
        for part in content
    )


def _content(name: str, content: Json) -> str:
    """Return the text of a message."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise ValueError(f'"{name}" must be a string or a list of parts, not {kind_of(content)}')
    texts: list[str] = []
    for at, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            wanted = f'an object with a "type", not {kind_of(part)}'
            raise ValueError(f'"{name}[{at}]" must be {wanted}')  # noqa: TRY004
        if part["type"] == "text":
            text = part.get("text")
            if not isinstance(text, str):
                raise ValueError(f'"{name}[{at}].text" must be a string, not {kind_of(text)}')
            texts.append(text)
    return "\n".join(texts)


# ------------------------------------------------------------------------------- responses


def members_of_response(response: Response) -> MessageMembers:
    """Return the members with which a response becomes a part of the chat.

    Args:
        response: the response to a chat; its first choice counts.
    """
    body: Mapping[str, Json] = response.body or {}
    calls = identified(response.tool_calls)
    own = _own_message(body)
    extra: dict[str, Json] = {
        name: value for name, value in own.items() if name in _SENT_BACK and value
    }
    if isinstance(own.get("content"), list):
        extra["content"] = own["content"]
    if calls:
        if not response.text:
            extra.setdefault("content", None)  # some servers refuse an empty text beside calls
        given = own.get("tool_calls")
        if not isinstance(given, list) or len(given) != len(calls):
            given = [None for _ in calls]
        extra["tool_calls"] = [
            _as_openai(call, written) for call, written in zip(calls, given, strict=True)
        ]
    native = _native(body)
    if native is not None and "parts" not in native and calls != response.tool_calls:
        native = None  # the results could not name their calls
    return MessageMembers("assistant", response.text, extra or None, native)


# Members of OpenAI's message that belong to the chat: reasoning goes back to where it is from.
_SENT_BACK = ("reasoning_content", "reasoning", "reasoning_details", "refusal")


def _own_message(body: Mapping[str, Json]) -> dict[str, Json]:
    """Return the message in a body of OpenAI's chat; an empty object for another body."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return message if isinstance(message, dict) else {}


def _native(body: Mapping[str, Json]) -> dict[str, Json] | None:
    """Return what goes back to Anthropic, OpenAI's Responses or Gemini, with signed reasoning."""
    for name in ("content", "output"):
        if isinstance(value := body.get(name), list) and value:
            return {name: value}
    candidates = body.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    content = first.get("content") if isinstance(first, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else None
    return {"parts": parts} if isinstance(parts, list) and parts else None


def identified(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """Return calls, each with an id of its own, by which its result can name it.

    A call that is repeated with the same id is one call. Where an id is missing, or two different
    calls have the same one, the id is made from the call: nine letters and digits, which is the
    form that Mistral requires.

    Args:
        calls: the calls of one response.
    """
    found: dict[str, ToolCall] = {}
    for call in calls:
        known = found.get(call.id)
        if known == call:
            continue
        if call.id and known is None:
            found[call.id] = call
            continue
        number = sum(one.name == call.name for one in found.values())
        text = f"{number} {call.name} {call.arguments}".encode(errors="replace")
        made = hashlib.blake2b(text, digest_size=5).hexdigest()[:9]
        found[made] = attrs.evolve(call, id=made)
    return tuple(found.values())


def _as_openai(call: ToolCall, written: Json) -> dict[str, Json]:
    """Return a call in OpenAI's shape, with what else the provider wrote, such as a signature.

    Its position, which some servers send and others refuse, is left out.
    """
    own = written if isinstance(written, dict) else {}
    rest = {name: value for name, value in own.items() if name not in _READ}
    if isinstance(own.get("custom"), dict):
        return {**rest, "id": call.id}
    inner = own.get("function")
    function: dict[str, Json] = {"name": call.name, "arguments": call.arguments or "{}"}
    if isinstance(inner, dict):
        function = {name: value for name, value in inner.items() if name not in _READ} | function
    return {**rest, "id": call.id, "type": "function", "function": function}


# Members of a call that is flat, or whose arguments stand elsewhere: they are read, and not sent.
_READ = ("index", "name", "arguments", "input", "parameters")


def calls_in(extra: Mapping[str, Json] | None) -> Iterable[ToolCall]:
    """Return the tool calls among the further members of a message.

    Args:
        extra: these members; None if there are none.
    """
    listed = None if extra is None else extra.get("tool_calls")
    for call in listed if isinstance(listed, list) else ():
        members = call if isinstance(call, dict) else {}
        function = members.get("function") or members.get("custom")
        if isinstance(function, dict):
            written = function.get("arguments", function.get("input")) or ""
            yield ToolCall(
                str(function.get("name") or ""),
                written if isinstance(written, str) else orjson.dumps(written).decode(),
                str(members.get("id") or ""),
            )
