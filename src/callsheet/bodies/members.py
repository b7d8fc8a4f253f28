"""Read the members of bodies in OpenAI's and Anthropic's formats as fields of a `Request`."""

import re
from collections.abc import Callable, Mapping
from typing import cast, get_args

from ..actors import ChatMessage, Json, Role, kind_of


class InvalidBody(Exception):
    """A body is not a valid request.

    Args:
        reason: what is wrong with it and how to fix it.
        param: the path of the member that is wrong, such as "messages[0].role"; "" for the body.

    Attributes:
        reason: what is wrong with it and how to fix it.
        param: the path of the member that is wrong; "" for the body.
    """

    def __init__(self, reason: str, param: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.param = param


_PLACE = re.compile(r'"([^"]+)"')  # at the beginning of an error
_IMAGE = "image"  # stands for the text of an input of moderations that has none
_ROLES: Mapping[str, Role] = {role: role for role in get_args(Role)}


def wrong_kind(name: str, wanted: str, value: object) -> InvalidBody:
    """Return the error of a member with a value of another kind.

    Args:
        name: the path of the member.
        wanted: the kind that it must have, such as "a string".
        value: what it has.
    """
    return InvalidBody(f'"{name}" must be {wanted}, not {kind_of(value)}', name)


def _text(name: str, value: Json) -> object:
    if isinstance(value, str):
        return value
    raise wrong_kind(name, "a string", value)


def _whole(name: str, value: Json) -> object:
    if type(value) is int:
        return value
    raise wrong_kind(name, "an integer", value)


def _number(name: str, value: Json) -> object:
    if type(value) is float or type(value) is int:
        return value
    raise wrong_kind(name, "a number", value)


def _texts(name: str, value: Json) -> object:
    """Read a string or a list of strings. Lists of token ids have no field in `Request`."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise wrong_kind(name, "a string or a list of strings", value)


def _texts_or_parts(name: str, value: Json) -> object:
    """Read an input of moderations: texts, or the texts of the parts of one input."""
    if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
        return _texts(name, value)
    texts = [item.get("text") for item in value if isinstance(item, dict)]
    return (" ".join(text for text in texts if isinstance(text, str)) or _IMAGE,)


def read_messages(name: str, value: Json) -> tuple[ChatMessage, ...]:
    """Read the messages of a chat.

    Args:
        name: the path of the list.
        value: the messages as JSON objects.

    Raises:
        InvalidBody: it is no list of messages.
    """
    if not isinstance(value, list):
        raise wrong_kind(name, "a list", value)
    messages: list[ChatMessage] = []
    for message in value:
        if isinstance(message, dict) and len(message) == 2:  # noqa: PLR2004  # only role and content, as in most messages
            role, content = message.get("role"), message.get("content")
            if isinstance(role, str) and isinstance(content, str) and role in _ROLES:
                messages.append(ChatMessage(_ROLES[role], content))
                continue
        try:
            messages.append(ChatMessage.of(message, f"{name}[{len(messages)}]"))
        except ValueError as error:
            text, place = str(error), f"{name}[{len(messages)}]"
            if found := _PLACE.match(text):
                raise InvalidBody(text, found[1]) from None
            raise InvalidBody(f'"{place}": {text:.200}', place) from None
    return tuple(messages)


_ITEM_ROLES = {role: _ROLES[role] for role in ("user", "assistant", "system", "developer")}


def _items(name: str, value: Json) -> object:
    """Read the input of OpenAI's Responses. Items that are more than a text stay as they are."""
    if isinstance(value, str):
        return (ChatMessage("user", value),)
    if not isinstance(value, list):
        raise wrong_kind(name, "a string or a list of items", value)
    messages: list[ChatMessage] = []
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong_kind(f"{name}[{at}]", "an object", item)
        content, given = item.get("content"), item.get("role")
        role = _ITEM_ROLES.get(given) if isinstance(given, str) else None
        if role is not None and isinstance(content, str) and len(item) == 2:  # noqa: PLR2004  # only role and content
            messages.append(ChatMessage(role, content))
            continue
        parts: Mapping[str, Json] | None = {"content": content} if content else None
        native: Mapping[str, Json] = {"output": [item]}
        text = _text_in(item)
        messages.append(ChatMessage(role or "assistant", text, extra=parts, native=native))
    return tuple(messages)


def _text_in(item: Mapping[str, Json]) -> str:
    """Return the text of an item, for estimates of its tokens."""
    texts: list[str] = []
    for value in map(item.get, ("content", "output", "arguments")):
        for part in value if isinstance(value, list) else (value,):
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                texts.append(text)
    return "\n".join(texts)


ReadMember = Callable[[str, Json], object]
_Messages = tuple[ChatMessage, ...]

_SAMPLING: Mapping[str, tuple[str, ReadMember]] = {
    "max_tokens": ("max_tokens", _whole),
    "n": ("n", _whole),
    "temperature": ("temperature", _number),
    "top_p": ("top_p", _number),
    "stop": ("stop", _texts),
    "seed": ("seed", _whole),
}
_MODEL: Mapping[str, tuple[str, ReadMember]] = {"model": ("model", _text)}

CHAT = {
    **_MODEL,
    "messages": ("messages", read_messages),
    **_SAMPLING,
    "max_completion_tokens": ("max_tokens", _whole),
}
RESPONSES = {
    **_MODEL,
    "input": ("messages", _items),
    "max_output_tokens": ("max_tokens", _whole),
    "temperature": ("temperature", _number),
    "top_p": ("top_p", _number),
}
MESSAGES = {
    **_MODEL,
    "messages": ("messages", read_messages),
    "max_tokens": ("max_tokens", _whole),
    "temperature": ("temperature", _number),
    "top_p": ("top_p", _number),
    "stop_sequences": ("stop", _texts),
}
GENERATION: Mapping[str, tuple[str, ReadMember]] = {
    "maxOutputTokens": ("max_tokens", _whole),
    "temperature": ("temperature", _number),
    "topP": ("top_p", _number),
    "stopSequences": ("stop", _texts),
    "candidateCount": ("n", _whole),
    "seed": ("seed", _whole),
}
COMPLETION = {**_MODEL, "prompt": ("inputs", _texts), **_SAMPLING}
EMBEDDING = {**_MODEL, "input": ("inputs", _texts), "dimensions": ("dimensions", _whole)}
MODERATION = {**_MODEL, "input": ("inputs", _texts_or_parts)}
"""{member: (field of `Request`, function that reads it)}"""


def split_members(
    body: Mapping[str, Json], known: Mapping[str, tuple[str, ReadMember]]
) -> tuple[dict[str, object], dict[str, Json]]:
    """Split a body into the fields of a `Request` and all other members.

    Raises:
        InvalidBody: a member has a wrong value, or two members set the same field differently.
    """
    fields: dict[str, object] = {}
    extra: dict[str, Json] = {}
    for name, value in body.items():
        if name not in known:
            extra[name] = value
        elif value is not None:  # providers treat null as unset
            field, read = known[name]
            read_value = read(name, value)
            if fields.setdefault(field, read_value) != read_value:
                twice = f'"{name}" is set twice, under two names; keep one of them'
                raise InvalidBody(twice, name)
    return fields, extra


def take_limit_name(fields: dict[str, object], body: Mapping[str, Json]) -> None:
    """Keep the name that the body has for the limit of a response (L15)."""
    for name in ("max_completion_tokens", "max_tokens"):
        if body.get(name) is not None:
            fields["max_tokens_name"] = name
            return


def take_schema(fields: dict[str, object], extra: dict[str, Json]) -> None:
    """Read a `response_format` with a JSON schema; any other is sent unchanged.

    A `Request` names its schema "answer" and makes it strict. Where the body differs from that, the
    differences stay in `extra`, which is merged into the request.
    """
    wanted = extra.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return
    named = wanted.get("json_schema")
    if not isinstance(named, dict):
        return
    schema = named.get("schema")
    if not isinstance(schema, dict):
        return
    fields["json_schema"] = schema
    rest_of_schema = {"strict": False, **named}  # the default of "strict" is False
    del rest_of_schema["schema"]
    if rest_of_schema.get("name") == "answer":
        del rest_of_schema["name"]
    if rest_of_schema["strict"] is True:
        del rest_of_schema["strict"]
    rest = {name: value for name, value in wanted.items() if name not in ("type", "json_schema")}
    if rest_of_schema:
        rest["json_schema"] = rest_of_schema
    if rest:
        extra["response_format"] = rest
    else:
        del extra["response_format"]


def take_parts(body: Mapping[str, Json], extra: dict[str, Json]) -> None:
    """Send an input of moderations that has parts, such as images, as it is."""
    given = body.get("input")
    if isinstance(given, list) and any(isinstance(item, dict) for item in given):
        extra["input"] = given


def take_system(fields: dict[str, object], extra: dict[str, Json]) -> None:
    """Read Anthropic's `system`, if it is a string, as a system message."""
    system, messages = extra.get("system"), fields.get("messages")
    if isinstance(system, str) and isinstance(messages, tuple):
        del extra["system"]
        fields["messages"] = (ChatMessage("system", system), *cast("_Messages", messages))
