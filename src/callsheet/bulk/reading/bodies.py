"""Build requests with the defaults of an input, also from JSON bodies in OpenAI's format."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

import attrs

from ...actors import ChatMessage, Json, Request, Role, Task, kind_of
from .errors import BadRecord
from .settings import ReadSettings

_ALIKE = tuple(field.name for field in attrs.fields(Request) if field.name != "messages")
_Alike = tuple[tuple[str, object], ...]


def ignore_remark(_: str) -> None:
    """Drop a remark."""


_MAX_TEMPLATES = 256  # then the cache is cleared: the rows differ in a seed, for example


class RequestBuilder:
    """Builds requests with the defaults of an input.

    Most rows differ only in their messages. Their common fields are validated once, by `Request`,
    and only their messages each time, by `ChatMessage`. This halves the cost of a row.

    Args:
        settings: the settings of the input.
        on_remark: called once with a sentence, if a row gets the usual model.
    """

    def __init__(
        self, settings: ReadSettings, on_remark: Callable[[str], None] = ignore_remark
    ) -> None:
        self._model = settings.model
        self._chat_model = settings.chat_model
        self._on_remark: Callable[[str], None] | None = on_remark
        self._defaults: dict[str, Any] = {
            name: value
            for name in ("max_tokens", "temperature")
            if (value := getattr(settings, name)) is not None
        }
        self._always: dict[str, Any] = {
            name: value
            for name in ("cacheable", "packable", "deadline")
            if (value := getattr(settings, name))
        }
        self._returns = settings.returns
        self._templates: dict[object, _Alike] = {}  # {fields without messages: all fields}

    def request(self, task: Task, fields: dict[str, Any]) -> Request:
        """Build the request of a row.

        Args:
            task: the task of the request.
            fields: the fields of a `Request` that the row sets, with valid types.

        Raises:
            BadRecord: a field is out of range, or there is no model; the text names the field.
        """
        if "model" not in fields:
            fields["model"] = self._default_model(task)
        if task in ("chat", "completion") and self._defaults:
            fields = self._defaults | fields
        messages: tuple[ChatMessage, ...] = fields.get("messages", ())
        if not messages or "extra_body" in fields or "json_schema" in fields:
            return self._made(task, fields)
        del fields["messages"]
        common = tuple(fields.items())
        alike = self._templates.get(common)
        if alike is not None:
            return _chat(messages, alike)
        request = self._made(task, {**fields, "messages": messages})
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[common] = tuple((name, getattr(request, name)) for name in _ALIKE)
        return request

    def _default_model(self, task: Task) -> str:
        if self._model is not None:
            return self._model
        if task == "embedding" or self._chat_model is None:
            kind = " of embeddings" if task == "embedding" else ""
            reason = f"the row has no model; name a model{kind} for such rows (--model)"
            raise BadRecord(reason, is_misfit=True)
        if self._on_remark is not None:
            self._on_remark(f"Rows that name no model use {self._chat_model} (see --model).")
            self._on_remark = None
        return self._chat_model

    def _made(self, task: Task, fields: dict[str, Any]) -> Request:
        if self._returns is not None:
            if task != "chat":
                raise BadRecord(f"a schema is for chats, and the row is an {task}")
            fields = {**fields, "returns": self._returns}
        try:
            return Request(task=task, **fields, **self._always)
        except (ValueError, TypeError) as error:
            raise BadRecord(str(error.args[0])) from None


def _chat(messages: tuple[ChatMessage, ...], alike: "_Alike") -> Request:
    """Build a chat from validated messages and fields that were validated before."""
    request = Request.__new__(Request)
    put = object.__setattr__  # it is frozen
    put(request, "messages", messages)
    for name, value in alike:
        put(request, name, value)
    return request


# ------------------------------------------------------------------------------- bodies and members

_IMAGE = "image"  # stands for the text of an input of moderations that has none
_ROLES: Mapping[str, Role] = {role: role for role in get_args(Role)}


def _wrong(name: str, wanted: str, value: object) -> BadRecord:
    return BadRecord(f'"{name}" must be {wanted}, not {kind_of(value)}')


def _text(name: str, value: Json) -> object:
    if isinstance(value, str):
        return value
    raise _wrong(name, "a string", value)


def _whole(name: str, value: Json) -> object:
    if type(value) is int:
        return value
    raise _wrong(name, "an integer", value)


def _number(name: str, value: Json) -> object:
    if type(value) is float or type(value) is int:
        return value
    raise _wrong(name, "a number", value)


def _texts(name: str, value: Json) -> object:
    """Read a string or a list of strings. Lists of token ids have no field in `Request`."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise _wrong(name, "a string or a list of strings", value)


def _texts_or_parts(name: str, value: Json) -> object:
    """Read an input of moderations: texts, or the texts of the parts of one input."""
    if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
        return _texts(name, value)
    texts = [item.get("text") for item in value if isinstance(item, dict)]
    return (" ".join(text for text in texts if isinstance(text, str)) or _IMAGE,)


def _messages(name: str, value: Json) -> object:
    if not isinstance(value, list):
        raise _wrong(name, "a list", value)
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
            raise BadRecord(str(error)) from None
    return tuple(messages)


_ITEM_ROLES = {role: _ROLES[role] for role in ("user", "assistant", "system", "developer")}


def _items(name: str, value: Json) -> object:
    """Read the input of OpenAI's Responses. Items that are more than a text stay as they are."""
    if isinstance(value, str):
        return (ChatMessage("user", value),)
    if not isinstance(value, list):
        raise _wrong(name, "a string or a list of items", value)
    messages: list[ChatMessage] = []
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            raise _wrong(f"{name}[{at}]", "an object", item)
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
    "messages": ("messages", _messages),
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
    "messages": ("messages", _messages),
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


def stated(
    body: Mapping[str, Json], known: Mapping[str, tuple[str, ReadMember]]
) -> tuple[dict[str, object], dict[str, Json]]:
    """Split a body into the fields of a `Request` and all other members.

    Raises:
        BadRecord: a member has a wrong value, or two members set the same field differently.
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
                raise BadRecord(f'"{name}" is set twice, under two names; keep one of them')
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


Shape = Task | Literal["responses"]
"""The shape of a body: that of a task, or of a chat that is sent to OpenAI's Responses."""

_URLS: Mapping[Shape, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "completion": "/v1/completions",
    "embedding": "/v1/embeddings",
    "moderation": "/v1/moderations",
}
_SHAPES: Mapping[str, Shape] = {
    path: shape for shape, url in _URLS.items() for path in (url, url.removeprefix("/v1"))
}
_MODERATIONS_MODEL = "omni-moderation-latest"
"""The model of moderations that name none, as OpenAI has it."""

_KNOWN = {
    "chat": CHAT,
    "responses": RESPONSES,
    "completion": COMPLETION,
    "embedding": EMBEDDING,
    "moderation": MODERATION,
}
_NEEDED = {
    "chat": "messages",
    "responses": "input",
    "completion": "prompt",
    "embedding": "input",
    "moderation": "input",
}


def url_of(shape: Shape) -> str:
    """Return the path that OpenAI's batch files use for a shape."""
    return _URLS[shape]


def shape_of_url(url: Json) -> Shape:
    """Return the shape of bodies for a path, with or without the version prefix.

    Raises:
        BadRecord: the path is unknown.
    """
    shape = _SHAPES.get(url) if isinstance(url, str) else None
    if shape is None:
        raise BadRecord(
            f'"url" is {kind_of(url)}; it must be one of {", ".join(_URLS.values())}',
            is_misfit=True,
        )
    return shape


def shape_of(body: Mapping[str, Json]) -> Shape | None:
    """Return the shape of a body by the member that only this one has; None if it has none."""
    if "messages" in body:
        return "chat"
    if "input" in body:
        return "embedding"
    return "completion" if "prompt" in body else None


class BodyReader:
    """Reads bodies as requests, with the defaults of the input.

    Args:
        builder: builds the requests.
    """

    def __init__(self, builder: RequestBuilder) -> None:
        self._builder = builder

    def request(self, shape: Shape, body: Mapping[str, Json]) -> Request:
        """Return the request of a body, such that the request sent is equivalent to it.

        Members without a field in `Request` go to `extra_body`. "stream" and its options are left
        out, because they do not change the response.

        Raises:
            BadRecord: the body is invalid; the text names the member.
        """
        fields, extra = stated(body, _KNOWN[shape])
        extra.pop("stream", None)
        extra.pop("stream_options", None)
        if shape == "chat":
            take_limit_name(fields, body)
            take_schema(fields, extra)
            take_system(fields, extra)
        elif shape == "responses":
            fields["api"] = "responses"
            extra.setdefault("store", None)  # what the body does not say is not said (L15)
        elif shape == "moderation":
            fields.setdefault("model", _MODERATIONS_MODEL)
            take_parts(body, extra)
        task: Task = "chat" if shape == "responses" else shape
        if ("messages" if task == "chat" else "inputs") not in fields:
            raise BadRecord(f'the body has no "{_NEEDED[shape]}"')
        if extra:
            fields["extra_body"] = extra
        return self._builder.request(task, fields)
