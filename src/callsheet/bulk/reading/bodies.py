"""Build requests with the defaults of an input, also from JSON bodies in OpenAI's format."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from ...actors import ChatMessage, Json, Request, Task, kind_of
from ...bodies import (
    CHAT,
    COMPLETION,
    EMBEDDING,
    MODERATION,
    RESPONSES,
    InvalidBody,
    ReadMember,
    split_members,
    take_limit_name,
    take_parts,
    take_schema,
    take_system,
)
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


def stated(
    body: Mapping[str, Json], known: Mapping[str, tuple[str, ReadMember]]
) -> tuple[dict[str, object], dict[str, Json]]:
    """Split a body into the fields of a `Request` and all other members; see `split_members`.

    Raises:
        BadRecord: a member has a wrong value, or two members set the same field differently.
    """
    try:
        return split_members(body, known)
    except InvalidBody as error:
        raise BadRecord(error.reason) from None


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
